package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// agent is one run of ktrdr-agent as node e2e on a folder source.
type agent struct {
	t      testing.TB
	home   string
	repo   string
	socket string
	log    *bytes.Buffer
	cmd    *exec.Cmd
}

// newAgent writes a repository with one stack and prepares an agent for it.
func newAgent(t testing.TB, compose, stackSpec string) *agent {
	t.Helper()
	home := t.TempDir()
	a := &agent{t: t, home: home, repo: filepath.Join(home, "repo"), socket: filepath.Join(home, "s")}
	a.write("fleet.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: e2e}\nspec: {}\n")
	a.write("nodes/e2e.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: e2e}\nspec:\n  stacks: [{name: app}]\n")
	a.stack(stackSpec)
	a.compose(compose)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sweep(ctx)
	t.Cleanup(func() {
		a.stop()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		sweep(ctx)
	})
	return a
}

// stack writes stack.yaml; spec is the YAML of its spec without the project.
func (a *agent) stack(spec string) {
	a.write("stacks/app/stack.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: app}\nspec:\n  project: e2e\n"+indent(spec))
}

func (a *agent) compose(text string) { a.write("stacks/app/compose.yaml", text) }

func indent(text string) string {
	if strings.TrimSpace(text) == "" {
		return ""
	}
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
}

// write replaces a file of the repository as an editor does: a new file, then a rename.
func (a *agent) write(name, text string) {
	a.t.Helper()
	path := filepath.Join(a.repo, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(path+"~", []byte(text), 0o644); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		a.t.Fatal(err)
	}
}

// start runs the agent; extra lines are added to its configuration.
func (a *agent) start(extra ...string) {
	a.t.Helper()
	config := filepath.Join(a.home, "agent.yaml")
	text := fmt.Sprintf("node: e2e\nstateDir: %s/state\nsocket: %s\nlisten: \"\"\n", a.home, a.socket)
	if len(extra) == 0 || !strings.Contains(strings.Join(extra, "\n"), "source:") {
		text += fmt.Sprintf("source: {dir: {path: %s}}\n", a.repo)
	}
	text += strings.Join(extra, "\n") + "\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	a.log = &bytes.Buffer{}
	a.cmd = exec.Command(binaries.agent, "run", "--config", config) //nolint:noctx // ended by stop
	a.cmd.Stderr = a.log
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
}

// stop ends the agent with SIGTERM and fails the test when it does not end well.
func (a *agent) stop() {
	if a.cmd == nil {
		return
	}
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- a.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			a.t.Errorf("agent ended with %v\n%s", err, a.tail())
		}
	case <-time.After(45 * time.Second):
		_ = a.cmd.Process.Kill()
		<-done
		a.t.Errorf("agent did not end within 45 s of SIGTERM\n%s", a.tail())
	}
	a.cmd = nil
}

// kill ends the agent as a crash does.
func (a *agent) kill() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
	a.cmd = nil
}

func (a *agent) tail() string {
	text := a.log.String()
	return text[max(0, len(text)-6000):]
}

// get reads a JSON answer of the agent's socket.
func (a *agent) get(path string, out any) error {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", a.socket)
		},
	}}
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, "http://agent"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return json.NewDecoder(resp.Body).Decode(out)
}

// await polls the status until ok says so.
func (a *agent) await(what string, limit time.Duration, ok func(api.NodeStatus) bool) api.NodeStatus {
	a.t.Helper()
	var st api.NodeStatus
	err := poll(a.t.Context(), limit, func() bool {
		st = api.NodeStatus{}
		return a.get("/v1/status", &st) == nil && ok(st)
	})
	if err != nil {
		text, _ := json.MarshalIndent(st, "", " ")
		a.t.Fatalf("%s: not within %s\nstatus: %s\nlog: %s", what, limit, text, a.tail())
	}
	return st
}

// converged waits for the stack app to be converged on what the repository says now.
func (a *agent) converged() api.NodeStatus {
	a.t.Helper()
	return a.await("converged", time.Minute, func(st api.NodeStatus) bool {
		return len(st.Stacks) == 1 && st.Stacks[0].Converged
	})
}

// change edits the repository by do and waits for the new revision to be converged.
func (a *agent) change(do func()) api.NodeStatus {
	a.t.Helper()
	var before api.NodeStatus
	if err := a.get("/v1/status", &before); err != nil {
		a.t.Fatal(err)
	}
	do()
	return a.await("converged on the change", time.Minute, func(st api.NodeStatus) bool {
		return st.Revision != before.Revision && len(st.Stacks) == 1 && st.Stacks[0].Converged
	})
}

// service finds the status of a container.
func service(st api.NodeStatus, name string) api.ServiceStatus {
	for _, s := range st.Stacks {
		for _, svc := range s.Services {
			if svc.Container == name {
				return svc
			}
		}
	}
	return api.ServiceStatus{}
}

// poll tries cond every 20 ms until it holds, limit is over or ctx ends.
func poll(ctx context.Context, limit time.Duration, cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		if cond() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
