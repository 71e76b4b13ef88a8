package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrdr.io/fleet/test/lab"
)

// agent is one run of ktrdr-agent on a folder source, with a project of its own.
type agent struct {
	t  testing.TB
	on docker
	// host is the node that it runs on; nil is this machine.
	host *lab.Node
	// project is also the name of the node in the desired state.
	project string
	home    string
	repo    string
	state   string
	socket  string
	// ram is the tmpfs that secrets are delivered in.
	ram string
	// extra lines are added to every configuration.
	extra []string
	// env is added to the environment of the agent.
	env []string
	log *output
	cmd *exec.Cmd
}

// output collects what a process says while others read it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// newAgent writes a repository with the stack app and prepares an agent for it on this
// machine's engine. The test runs beside others.
func newAgent(t *testing.T, compose, stackSpec string) *agent {
	t.Helper()
	t.Parallel()
	a := bareAgent(t, machine(), nil)
	a.node("stacks: [{name: app}]")
	a.stack(stackSpec)
	a.compose(compose)
	return a
}

// bareAgent prepares an agent without any stack.
func bareAgent(t *testing.T, on docker, host *lab.Node) *agent {
	t.Helper()
	home := t.TempDir()
	name := strings.ToLower(strings.TrimPrefix(strings.ReplaceAll(t.Name(), "/", "-"), "Test"))
	a := &agent{
		t: t, on: on, host: host, project: prefix + "-" + name, home: home, log: &output{},
		repo: filepath.Join(home, "repo"), state: filepath.Join(home, "state"), socket: filepath.Join(home, "s"),
		ram: filepath.Join(home, "ram"),
	}
	a.write("fleet.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: e2e}\nspec: {}\n")
	on.sweepAll(a.project)
	t.Cleanup(func() {
		a.stop()
		if t.Failed() {
			t.Logf("log of the agent:\n%s", a.tail())
		}
		on.sweepAll(a.project)
		a.unmount()
	})
	return a
}

// unmount loses the memory of secrets, as a reboot does. On a node of the test's own it
// goes with the node.
func (a *agent) unmount() {
	if a.host == nil {
		_ = unix.Unmount(a.ram, unix.MNT_DETACH) // there is none without secrets
	}
}

// name is the container's name as Compose makes it.
func (a *agent) name(service string) string { return a.project + "-" + service + "-1" }

// net is the engine's name of a network of the project.
func (a *agent) net(key string) string { return a.project + "_" + key }

// node writes the node's file; spec is the YAML of its spec.
func (a *agent) node(spec string) {
	a.write("nodes/"+a.project+".yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: "+a.project+"}\nspec:\n"+indent(spec))
}

// stack writes stack.yaml; spec is the YAML of its spec without the project.
func (a *agent) stack(spec string) {
	a.write("stacks/app/stack.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: app}\nspec:\n  project: "+a.project+"\n"+indent(spec))
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
	writeFile(a.t, filepath.Join(a.repo, name), text, 0o644)
}

func writeFile(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // no secrets in it
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"~", []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
}

// start runs the agent; extra lines are added to its configuration.
func (a *agent) start(extra ...string) {
	a.t.Helper()
	config := filepath.Join(a.home, "agent.yaml")
	all := strings.Join(append(append([]string(nil), a.extra...), extra...), "\n")
	text := fmt.Sprintf("node: %s\nstateDir: %s\nsecretsDir: %s\nsocket: %s\nengine: {host: unix://%s}\n",
		a.project, a.state, a.ram, a.socket, a.on.socket)
	if !strings.Contains(all, "source:") {
		text += fmt.Sprintf("source: {dir: {path: %s}}\n", a.repo)
	}
	if !strings.Contains(all, "listen:") {
		text += "listen: \"\"\n"
	}
	if err := os.WriteFile(config, []byte(text+all+"\n"), 0o600); err != nil {
		a.t.Fatal(err)
	}
	args := []string{"run", "--config", config}
	if a.host != nil {
		a.cmd = a.host.Command(context.Background(), binaries.agent, args...) //nolint:usetesting // ended by stop, after the test's context
	} else {
		a.cmd = exec.Command(binaries.agent, args...) //nolint:noctx // ended by stop
	}
	if a.cmd.Env == nil {
		a.cmd.Env = os.Environ()
	}
	a.cmd.Env = append(a.cmd.Env, a.env...)
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
}

// stop ends the agent with SIGTERM and fails the test when it does not end well.
func (a *agent) stop() {
	a.t.Helper()
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
		a.t.Errorf("agent did not end within 45 s of SIGTERM: %v\n%s", <-done, a.tail())
	}
	a.cmd = nil
}

// kill ends the agent as a crash does.
func (a *agent) kill() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
	a.cmd = nil
}

// restart ends the agent and starts it again.
func (a *agent) restart(extra ...string) {
	a.t.Helper()
	a.stop()
	a.start(extra...)
}
