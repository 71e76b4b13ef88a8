package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// ownAgent is a machine with the real program and what somebody wrote into its configuration.
type ownAgent struct {
	*site
	program, config string
	socket          string
	mu              sync.Mutex
	asked           []string // of the engine
}

func newOwnAgent(t *testing.T) *ownAgent {
	t.Helper()
	a := &ownAgent{site: newSite(t)}
	a.program, a.config = filepath.Join(a.dir, "ktrdr-agent"), filepath.Join(a.dir, "etc", "agent.yaml")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", a.program, "../agent").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	a.socket = filepath.Join(t.TempDir(), "s") // names of sockets are short
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", a.socket)
	must(t, err)
	engine := &http.Server{Handler: a, ReadHeaderTimeout: patience}
	var serving sync.WaitGroup
	serving.Go(func() { _ = engine.Serve(listener) })
	t.Cleanup(func() {
		_ = engine.Close()
		serving.Wait()
	})
	return a
}

// ServeHTTP is an engine that says who it is, and has nothing else.
func (a *ownAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked = append(a.asked, r.Method+" "+r.URL.Path)
	a.mu.Unlock()
	w.Header().Set("Api-Version", "1.44")
	w.Header().Set("Content-Type", "application/json")
	if strings.HasSuffix(r.URL.Path, "/_ping") || strings.HasSuffix(r.URL.Path, "/version") || strings.HasSuffix(r.URL.Path, "/info") {
		fmt.Fprint(w, `{"Version":"25.0.0","ServerVersion":"25.0.0","ApiVersion":"1.44","MinAPIVersion":"1.24"}`)
		return
	}
	w.WriteHeader(http.StatusNotFound)
}

// join runs the real program with a new token for node b.
func (a *ownAgent) join(more ...string) (string, error) {
	a.t.Helper()
	made, err := a.nodes.CreateJoinToken(a.t.Context(), &ktrdrv1.CreateJoinTokenRequest{Node: "b"})
	must(a.t, err)
	args := append([]string{"join", "https://" + a.addr, "--token-file", "-", "--no-service", "--config", a.config}, more...)
	cmd := exec.CommandContext(a.t.Context(), a.program, args...)
	cmd.Stdin = strings.NewReader(made.GetJoinToken())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (a *ownAgent) text(path string) string {
	a.t.Helper()
	data, err := os.ReadFile(path) //nolint:gosec // the test's own
	must(a.t, err)
	return string(data)
}

// copies are the contents of all copies of the configuration, by their names.
func (a *ownAgent) copies() map[string]string {
	a.t.Helper()
	names, err := filepath.Glob(a.config + ".before-*")
	must(a.t, err)
	out := map[string]string{}
	for _, name := range names {
		out[name] = a.text(name)
	}
	return out
}

// TestJoinsOverAConfiguration: the real agent joins a real controller over a configuration that
// somebody wrote, and again. What they wrote stays, or is in a copy that a sentence names; the
// engine is asked who it is and nothing else.
func TestJoinsOverAConfiguration(t *testing.T) {
	a := newOwnAgent(t)
	rest := "# mine\nstateDir: " + a.dir + "/agent # on the large disk\nengine: {host: 'unix://" + a.socket + "'}\nlog:\n  level: debug # for a while\n"
	written := rest + "node: b\nsource:\n  # the old way\n  git: {url: 'https://git.example/x.git'}\n"
	must(t, os.MkdirAll(filepath.Dir(a.config), 0o750))
	must(t, os.WriteFile(a.config, []byte(written), 0o600))
	must(t, os.Chmod(a.config, 0o640)) //nolint:gosec // what somebody wants for a group

	if out, err := a.join(); err == nil || !strings.Contains(out, "--force") || !strings.Contains(out, "git.example") {
		t.Fatalf("without --force: %v\n%s", err, out)
	}
	if a.text(a.config) != written || len(a.copies()) > 0 {
		t.Fatal("a refusal changed something")
	}
	keeps := func(what, before string, copies int, out string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, out)
		}
		now, found := a.text(a.config), false
		if !strings.HasPrefix(now, rest) || !strings.Contains(now, a.addr) || strings.Contains(now, "git.example") {
			t.Errorf("%s: the configuration is\n%s", what, now)
		}
		all := a.copies()
		for name, content := range all {
			found = found || content == before && strings.Contains(out, name)
		}
		if len(all) != copies || copies > 0 && !found {
			t.Errorf("%s: no copy of what was there, that is told, among %q:\n%s", what, all, out)
		}
		if info, err := os.Stat(a.config); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: the mode of the configuration is %v, %v", what, info.Mode(), err)
		}
	}
	out, err := a.join("--force")
	keeps("from git", written, 1, out, err)

	// Joined, and somebody changes what join wrote.
	mine := strings.Replace(a.text(a.config), "    endpoints:\n", "    # the spare one\n    endpoints:\n      - 'spare.example:8443'\n", 1)
	must(t, os.WriteFile(a.config, []byte(mine), 0o600))
	out, err = a.join("--force")
	keeps("again", mine, 2, out, err)
	if now := a.text(a.config); !strings.Contains(now, "spare.example:8443") {
		t.Errorf("an endpoint is lost:\n%s", now)
	}
	same := a.text(a.config)
	out, err = a.join("--force")
	if err != nil || a.text(a.config) != same || len(a.copies()) != 2 || !strings.Contains(out, "is as it should be") {
		t.Errorf("once more: %v, %d copies\n%s", err, len(a.copies()), out)
	}

	// A link stays one.
	elsewhere := filepath.Join(a.dir, "managed.yaml")
	must(t, os.Rename(a.config, elsewhere))
	must(t, os.WriteFile(elsewhere, []byte(written), 0o600))
	must(t, os.Chmod(elsewhere, 0o640)) //nolint:gosec // as above
	must(t, os.Symlink(elsewhere, a.config))
	out, err = a.join("--force")
	keeps("through a link", written, 3, out, err)
	if link, err := os.Readlink(a.config); err != nil || link != elsewhere {
		t.Errorf("the link is gone: %q %v", link, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, asked := range a.asked {
		if method, path, _ := strings.Cut(asked, " "); method != http.MethodGet && method != http.MethodHead || strings.Contains(path, "containers") {
			t.Errorf("join asked the engine for %s", asked)
		}
	}
	if len(a.asked) == 0 {
		t.Error("the engine was not asked: this test proves nothing")
	}
}
