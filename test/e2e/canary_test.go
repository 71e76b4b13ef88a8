package e2e_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/test/canary"
	"ktrdr.io/fleet/test/connect"
)

// TestCanary plants secrets, lets everything happen to them that may happen, and then
// looks for them wherever something is kept or told. docs/secrets.md lists the rows.
func TestCanary(t *testing.T) {
	t.Parallel()
	w := newCanaryWorld(t)
	seen := watchProcesses(t, w.every)
	w.start()
	w.await("everything happened that happens by itself", 2*time.Minute, func(st api.NodeStatus) bool {
		return stackOf(st, "app").Converged && stackOf(st, "open").Converged && stackOf(st, "kept").Converged && rollout(st).Good != "" &&
			told(st, w.of("sick"), "HEALTHCHECK-SAYS") && service(st, w.of("sick", "probed")).Converged &&
			told(st, w.of("refused", "uncreated"), "working directory") && told(st, w.of("refused", "unstarted"), "unable to find user")
	})
	w.arrived(t)
	w.gather(t, "at first")
	w.rotate(t)
	w.troubles(t)
	texts := w.gather(t, "at last")
	w.engineRows(t)
	w.diskRows(t)
	t.Run("PIN", func(t *testing.T) { w.guess(t, texts) })
	t.Run("processes", func(t *testing.T) { seen.judge(t, w.project) })
	t.Run("dump", func(t *testing.T) { w.dump(t) })
}

func stackOf(st api.NodeStatus, name string) api.StackStatus {
	for _, s := range st.Stacks {
		if s.Name == name {
			return s
		}
	}
	return api.StackStatus{}
}

// arrived: the values are where they belong, so there is something to leak.
func (w *canaryWorld) arrived(t *testing.T) {
	t.Helper()
	env := w.on.environ(t, w.name("web"))
	for _, s := range []canary.Secret{w.word, w.nasty, w.key} {
		if env[strings.ToUpper(s.Name)] != s.Value {
			t.Errorf("%s did not arrive intact", s.Name)
		}
	}
	if env["URL"] != "postgres://app:"+w.word.Value+"@db/app?key="+w.nasty.Value || w.on.environ(t, w.name("pin"))["PIN"] != canaryPIN {
		t.Error("the URL or the PIN did not arrive intact")
	}
	if got := readFile(t, fmt.Sprintf("/proc/%d/root/run/secrets/key", w.on.program(t, w.name("web")))); got != w.key.Value {
		t.Error("the key did not arrive intact as a file")
	}
}

// troubles are what makes careless programs repeat secrets.
func (w *canaryWorld) troubles(t *testing.T) {
	t.Helper()
	values := strings.Join([]string{w.word.Value, w.nasty.Value, w.key.Value, w.login.Value, w.open.Value, w.first.Value, w.second.Value, "pin " + canaryPIN}, " ")
	for what, q := range map[string]connect.Quirks{
		"error": {Status: 500, Echo: values}, "page": {HTML: 200, Echo: values}, "bad gateway": {HTML: 502, Echo: values}, "garbage": {Garbage: "[{\"id\": \"" + w.word.Value},
		"redirect": {Redirect: "http://127.0.0.1:1/" + url.PathEscape(w.word.Value)},
	} {
		w.server.SetQuirks(func(have *connect.Quirks) { *have = q })
		w.await("Connect answers with a "+what, time.Minute, func(st api.NodeStatus) bool { return len(conditions(st, api.ReasonSecretsStale)) > 0 })
		w.gather(t, "while Connect answers with a "+what)
		w.server.SetQuirks(func(have *connect.Quirks) { *have = connect.Quirks{} })
		w.await("Connect is back", time.Minute, func(st api.NodeStatus) bool { return len(conditions(st, api.ReasonSecretsStale)) == 0 })
	}

	w.echo.Store(true)
	w.compose(strings.Replace(w.fill(canaryApp), "/e2e/web:1", "/e2e/web:2", 1))
	w.push()
	w.await("the registry repeats the login", time.Minute, func(st api.NodeStatus) bool { return told(st, w.name("pulled"), "REGISTRY-SAYS") })
	w.gather(t, "while the registry repeats the login")

	w.on.exec(t, w.of("sick", "probed"), "sh", "-c", ": > /bad")
	w.await("the probe prints", time.Minute, func(st api.NodeStatus) bool { return told(st, w.of("sick", "probed"), "PROBE-SAYS") })
	w.compose(w.crashing())
	w.push()
	st := w.await("rolled back with the last lines", 2*time.Minute, func(st api.NodeStatus) bool {
		web := w.on.container(t, w.name("web"))
		return rollout(st).Failed != nil && web != nil && web.State.Health != nil && web.State.Health.Status == "healthy" && len(w.on.names(t, w.project)) == 3
	})
	if text := strings.Join(rollout(st).Failed.Log, "\n"); !strings.Contains(text, "CRASH-SAYS [redacted]") || strings.Contains(text, "pin "+canaryPIN) {
		t.Errorf("last lines: %q", text)
	}
}

// gather looks at all that the agent tells, until it has seen what is known to be told: a
// container that is being restarted says nothing of its healthcheck for a while.
func (w *canaryWorld) gather(t *testing.T, when string) map[string]string {
	t.Helper()
	var texts map[string]string
	var lacks string
	err := poll(t.Context(), time.Minute, func() bool {
		texts = w.everywhere(t)
		for where, text := range texts {
			for _, hit := range w.every.Text(where+" "+when, text) {
				t.Error(hit)
			}
			if strings.Contains(text, "pin "+canaryPIN) {
				t.Errorf("%s %s has the PIN", where, when)
			}
		}
		lacks = w.lacking(texts)
		return lacks == "" || t.Failed()
	})
	if err != nil {
		t.Errorf("%s: the search proves nothing: %s\n%.3000s", when, lacks, texts[lacks])
	}
	return texts
}

// lacking names a place where not even that is told which is no secret.
func (w *canaryWorld) lacking(texts map[string]string) string {
	for where, control := range map[string]string{
		"log of the agent": "HEALTHCHECK-SAYS [redacted]", "socket /v1/status": "HEALTHCHECK-SAYS [redacted]", "TCP /v1/status": "HEALTHCHECK-SAYS [redacted]",
		"socket /v1/events": "HEALTHCHECK-SAYS [redacted]", "socket /v1/plan": w.name("web"), "socket /v1/secrets": "/nasty", "TCP /v1/secrets": "Forbidden",
		"socket /metrics": "ktrdr_secrets", "TCP /metrics": "ktrdr_secrets", "ktrdrctl status -o json": "HEALTHCHECK-SAYS [redacted]",
		"ktrdrctl status": "HEALTHCHECK-SAYS [redacted]", "ktrdrctl events": "HEALTHCHECK-SAYS [redacted]",
		"ktrdrctl secrets": "nasty", "ktrdrctl secrets -o json": "/nasty", "ktrdrctl plan -o json": w.name("web"), "ktrdrctl plan " + w.repo: "stack app",
	} {
		if !strings.Contains(texts[where], control) {
			return where
		}
	}
	return ""
}

// row searches a text for the secrets that nobody may see, and proves the search by the
// one that everybody may.
func (w *canaryWorld) row(t *testing.T, what, text string) {
	t.Helper()
	for _, hit := range w.closed.Text(what, text) {
		t.Error(hit)
	}
	if len(w.exposed.Text(what, text)) == 0 {
		t.Errorf("%s does not have the secret that is there: the search proves nothing", what)
	}
}

// longDigest finds what an agent publishes of secrets.
var longDigest = regexp.MustCompile(`"io\.ktrdr\.secret-digest":"(v1:[0-9a-f]{64})"`)

// dump makes the agent say what it is doing, as a person in trouble does, and then end.
func (w *canaryWorld) dump(t *testing.T) {
	before := len(w.log.String())
	if err := w.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	_ = w.cmd.Wait() // by the signal
	w.cmd = nil
	text := w.log.String()[before:]
	for _, hit := range w.every.Text("dump", text) {
		t.Error(hit)
	}
	if strings.Count(text, "goroutine ") < 10 {
		t.Errorf("no dump: the search proves nothing\n%.500s", text)
	}
}

// guess: not even a PIN can be found from anything that is published about it.
func (w *canaryWorld) guess(t *testing.T, texts map[string]string) {
	var published strings.Builder
	for _, text := range texts {
		published.WriteString(text)
	}
	var labels []byte
	w.on.do(t, http.MethodGet, "/containers/json?all=1", nil, &labels)
	published.Write(labels)
	published.WriteString(w.gitObjects(t, filepath.Join(w.bare, "objects")))
	if got := longDigest.FindAllString(string(labels), -1); len(got) < 2 {
		t.Errorf("%d digests of secrets are published: the search proves nothing", len(got))
	}
	ref := "op://" + vaultOfUser + "/" + itemOfUser + "/pin"
	g := canary.Guesser{
		Known: []string{ref, w.project, "pin"},
		Derive: func(key []byte, value string) []string {
			mac := hmac.New(sha256.New, key)
			mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(ref))))
			mac.Write([]byte(ref + value))
			digest := "v1:" + hex.EncodeToString(mac.Sum(nil))
			return []string{digest, plan.SecretDigest(nil, &api.Replica{SecretRefs: []string{ref}}, map[string]string{ref: digest})}
		},
	}
	const planted = "0007"
	published.WriteString(g.Derive(nil, planted)[1])
	found := g.Guess(published.String(), canary.PINs())
	if !slices.Contains(found, planted) {
		t.Error("what was planted was not guessed: the search proves nothing")
	}
	if len(found) > 1 {
		t.Errorf("values that can be guessed: %d, the right one among them: %t", len(found), slices.Contains(found, canaryPIN))
	}
}
