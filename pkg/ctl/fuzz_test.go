package ctl_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/ctl"
	"ktrdr.io/fleet/pkg/ctl/internal/contexts"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// shown runs ktrdrctl and wants what it prints to be harmless for a terminal.
func shown(t *testing.T, env map[string]string, args ...string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := ctl.Main(t.Context(), ctl.Process{Args: args, Env: func(name string) string { return env[name] }, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs})
	if code < 0 || code > 4 {
		t.Errorf("%v: exit code %d", args, code)
	}
	for _, text := range []string{out.String(), errs.String()} {
		if !utf8.ValidString(text) {
			t.Errorf("%v prints what is no text: %q", args, text)
		}
		for _, r := range text {
			if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
				t.Errorf("%v prints the control character %q: %q", args, r, text)
				break
			}
		}
	}
}

// FuzzAgent gives ktrdrctl anything as the answer of an agent.
func FuzzAgent(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `[]`, `{}`, `[null]`, `[{}]`, `{"error":"no\u001b[31m","reason":"x"}`, `{"node":"b\u001b]0;","stacks":[{"services":[{}]}],"conditions":[{"message":"\u0007"}]}`,
		`[{"stack":"core","ops":[{"kind":"x","diff":[{}],"cause":"\u009b2J"}]}]`, `[{"seq":1,"message":"a\nb\u001b[2J","level":"warn"}]`,
		`{"providers":[{}],"secrets":[{"users":[null]}]}`, `{"name":"x","result":"ok"}` + "\n" + `{"name":"\u001b"}`,
	} {
		f.Add(200, []byte(seed))
		f.Add(500, []byte(seed))
	}
	var code int
	var answer []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write(answer)
	}))
	server.Config.SetKeepAlivesEnabled(false) // each run is a process of its own elsewhere, and leaves no connection open
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, status int, data []byte) {
		if status < 200 || status > 599 {
			return
		}
		code, answer = status, data
		env := map[string]string{"KTRDR_AGENT": server.URL, "NO_COLOR": "1"}
		for _, verb := range [][]string{{"status"}, {"status", "-o", "wide"}, {"status", "-o", "yaml"}, {"plan"}, {"events"}, {"secrets"}, {"doctor"}, {"version"}} {
			shown(t, env, verb...)
		}
	})
}

// FuzzFleet gives ktrdrctl anything as the state of a fleet, and as a refusal.
func FuzzFleet(f *testing.F) {
	for _, m := range []*ktrdrv1.Fleet{
		{},
		{Head: &ktrdrv1.Commit{Revision: "x\x1b[2J"}, Rollout: &ktrdrv1.Rollout{Waves: []*ktrdrv1.Wave{{Nodes: []*ktrdrv1.NodeProgress{{}}}}}},
		{Nodes: []*ktrdrv1.Node{{}, {Name: "b\n", Status: &ktrdrv1.NodeStatus{
			Stacks: []*ktrdrv1.StackStatus{{Services: []*ktrdrv1.ServiceStatus{{Service: "\u202e"}}, Conditions: []*ktrdrv1.Condition{{}}}},
		}}}},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint32(0), "")
		f.Add(data, uint32(13), "no\x1b[2J\xff")
	}
	fake, err := newFakeFleet(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	if err := fake.serve(""); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(fake.stop)
	env := map[string]string{"NO_COLOR": "1", "KTRDR_CONFIG": f.TempDir() + "/config"}
	config := contexts.New()
	config.Put(contexts.Context{
		Name: "fake", Controller: "https://" + fake.address, Authority: base64.StdEncoding.EncodeToString(fake.authority.BundlePEM()), Token: adminToken,
	})
	config.Current = "fake"
	if err := config.Save(env["KTRDR_CONFIG"]); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, code uint32, message string) {
		fleet := &ktrdrv1.Fleet{}
		if proto.Unmarshal(data, fleet) != nil {
			return
		}
		fake.change(func() {
			fake.fleet, fake.rollout, fake.refuse = fleet, fleet.GetRollout(), map[string]error{}
			if c := codes.Code(code % 17); c != codes.OK && c != codes.Unavailable && c != codes.DeadlineExceeded { // which are looked into, and take their time
				fake.refuse["GetFleet"] = status.Error(c, message)
			}
		})
		for _, verb := range [][]string{{"status"}, {"status", "-o", "wide"}, {"status", "-o", "json"}, {"status", "b"}, {"node", "list"}} {
			shown(t, env, verb...)
		}
	})
}
