package web_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/controller/web"
	"ktrdr.io/fleet/pkg/source"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const secret = "0123456789abcdef0123456789abcdef"

// newHook counts how often it rings.
func newHook(t testing.TB) (hook *web.Hook, rings *int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rings = new(int)
	return &web.Hook{SecretFile: file, Ring: func() { *rings++ }}, rings
}

func signature(body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

// TestSignatures are those of GitHub, Gitea and Forgejo, in the form of each.
func TestSignatures(t *testing.T) {
	const body = `{"ref":"refs/heads/main"}`
	for name, c := range map[string]struct {
		header, text string
		want         int
	}{
		"GitHub":          {"X-Hub-Signature-256", "sha256=" + signature(body), http.StatusAccepted},
		"Gitea":           {"X-Gitea-Signature", signature(body), http.StatusAccepted},
		"Forgejo":         {"X-Forgejo-Signature", signature(body), http.StatusAccepted},
		"SHA-1":           {"X-Hub-Signature", "sha1=" + signature(body), http.StatusForbidden},
		"of another body": {"X-Hub-Signature-256", "sha256=" + signature(body+" "), http.StatusForbidden},
		"half of it":      {"X-Gitea-Signature", signature(body)[:32], http.StatusForbidden},
		"empty":           {"X-Gitea-Signature", "", http.StatusForbidden},
		"none":            {"X-Other", "", http.StatusForbidden},
	} {
		hook, rings := newHook(t)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/webhook", strings.NewReader(body))
		r.Header.Set(c.header, c.text)
		w := httptest.NewRecorder()
		hook.ServeHTTP(w, r)
		if w.Code != c.want || (*rings == 1) != (w.Code == http.StatusAccepted) {
			t.Errorf("%s: %d %s, and it rang %d times; want %d", name, w.Code, w.Body, *rings, c.want)
		}
	}
}

// FuzzHook: nothing rings but what is signed with the secret.
func FuzzHook(f *testing.F) {
	f.Add("", "")
	f.Add("{}", "sha256="+signature("{}"))
	f.Add("{}", signature("{}"))
	f.Add("x", "sha256=zz")
	hook, rings := newHook(f)
	f.Fuzz(func(t *testing.T, body, text string) {
		for _, header := range []string{"X-Hub-Signature-256", "X-Gitea-Signature", "X-Forgejo-Signature"} {
			before := *rings
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/webhook", strings.NewReader(body))
			r.Header.Set(header, text)
			w := httptest.NewRecorder()
			hook.ServeHTTP(w, r)
			good := strings.EqualFold(strings.TrimPrefix(text, "sha256="), signature(body))
			if rang := *rings > before; rang && !good || rang != (w.Code == http.StatusAccepted) {
				t.Fatalf("%s %q of %q: %d, rang: %v", header, text, body, w.Code, rang)
			}
		}
	})
}

// one has one revision.
type one string

func (dir one) Tree(context.Context, string) (source.Tree, error) {
	return source.Tree{Dir: string(dir), Revision: source.Revision{ID: "r"}}, nil
}

// state is node a with the service web, which publishes a port.
func state(t testing.TB) one {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"fleet.yaml":               "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: lab}\nspec: {}\n",
		"nodes/a.yaml":             "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: a}\nspec: {hostname: a.example, stacks: [{name: core}]}\n",
		"stacks/core/stack.yaml":   "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: core}\nspec: {}\n",
		"stacks/core/compose.yaml": "services:\n  web: {image: 'example:1', container_name: web, ports: ['8080:80', '53:53/udp']}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return one(dir)
}

// FuzzTargets lets a node tell anything: Prometheus gets what is published by the revision, at
// the node's own address, and nothing else.
func FuzzTargets(f *testing.F) {
	for _, s := range []*ktrdrv1.ServiceStatus{
		{Service: "web", Container: "web", State: "running", Health: "healthy"}, {Service: "web", Container: "other", State: "running"}, {State: "running"}, {},
	} {
		data, err := proto.Marshal(&ktrdrv1.NodeStatus{Node: "a", Stacks: []*ktrdrv1.StackStatus{{Name: "core", Services: []*ktrdrv1.ServiceStatus{s}}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	shelf := slicing.NewShelf(state(f))
	f.Cleanup(func() { _ = shelf.Close() })
	node := hub.Node{Name: "a", Digest: "d", StatusDigest: "d", Revision: "r"}
	targets := &web.Targets{Nodes: func() []hub.Node { return []hub.Node{node} }, Shelf: shelf, Log: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, data []byte) {
		status := &ktrdrv1.NodeStatus{}
		if proto.Unmarshal(data, status) != nil {
			return
		}
		packed, err := hub.Pack(status)
		if err != nil {
			t.Fatal(err)
		}
		node.Status = packed
		w := httptest.NewRecorder()
		targets.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/sd/prometheus", nil))
		var groups []struct {
			Targets []string
			Labels  map[string]string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &groups); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
		for _, g := range groups {
			if !slices.Equal(g.Targets, []string{"a.example:8080"}) || g.Labels["container"] != "web" || g.Labels["node"] != "a" {
				t.Fatalf("a target that nobody wants: %+v", g)
			}
		}
	})
}
