package nodes_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/test/demo/image"
	"ktrdr.io/fleet/test/lab"
)

// limit bounds what is waited for: generous, because other tests run beside.
const limit = 3 * time.Minute

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// node is a machine on which the agent is installed, and the repository that it follows.
type node struct {
	*lab.Machine
	t    *testing.T
	home string
	// repo is the working copy, bare what the agent fetches from.
	repo, bare string
}

// newNode boots a machine with the programs in place and the demonstration images loaded.
func newNode(t *testing.T, opts lab.MachineOptions) *node {
	t.Helper()
	if world.unavailable != nil {
		t.Skipf("SKIPPED: nothing is tested on whole machines: %v", world.unavailable)
	}
	t.Parallel()
	ctx, cancel := contextFor(limit)
	defer cancel()
	opts.Root = world.root
	opts.Name = strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	opts.Install = install
	machine, err := world.network.Boot(ctx, opts)
	if errors.Is(err, lab.ErrUnavailable) {
		t.Skipf("SKIPPED: nothing is tested on whole machines: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Machine: machine, t: t, home: t.TempDir()}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("journal of %s:\n%s", opts.Name, words(n.journal()))
		}
		if err := machine.Close(); err != nil {
			t.Errorf("remove %s: %v", opts.Name, err)
		}
	})
	// As the README says, without the last step.
	if _, err := image.Build(ctx, image.Options{Host: "unix://" + n.Socket(), Program: world.demo}); err != nil {
		t.Fatal(err)
	}
	n.repo, n.bare = filepath.Join(n.home, "work"), filepath.Join(n.home, "state.git")
	n.write("fleet.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: nodes}\nspec: {}\n")
	n.write("stacks/app/stack.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: app}\nspec: {}\n")
	n.git("init", "--quiet", "--bare", "--initial-branch=main", n.bare)
	n.git("init", "--quiet", "--initial-branch=main")
	n.git("remote", "add", "origin", n.bare)
	return n
}

// install puts the files where the README puts them.
func install(root string) error {
	for _, f := range []struct {
		from, to string
		mode     os.FileMode
	}{
		{world.agent, "usr/bin/ktrdr-agent", 0o755},
		{world.ctl, "usr/bin/ktrdrctl", 0o755},
		{world.exec, "usr/bin/ktrdr-exec", 0o755},
		{module + "/packaging/systemd/ktrdr-agent.service", "etc/systemd/system/ktrdr-agent.service", 0o644},
	} {
		data, err := os.ReadFile(f.from)
		if err != nil {
			return err
		}
		to := filepath.Join(root, f.to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // as on any system
			return err
		}
		if err := os.WriteFile(to, data, f.mode); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(root, "etc/ktrdr"), 0o755) //nolint:gosec // as on any system
}

// name is the machine's, and the node's in the desired state.
func (n *node) name() string { return strings.ToLower(strings.TrimPrefix(n.t.Name(), "Test")) }

// run runs a program on the machine and ends the test when it fails.
func (n *node) run(name string, args ...string) string {
	n.t.Helper()
	out, err := n.try(name, args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

func (n *node) try(name string, args ...string) (string, error) {
	ctx, cancel := contextFor(limit)
	defer cancel()
	out, err := n.Run(ctx, name, args...)
	return strings.TrimSpace(out), err
}

// property reads one of the unit as systemd has it.
func (n *node) property(name string) string {
	n.t.Helper()
	return n.run("systemctl", "show", "--value", "--property", name, "ktrdr-agent")
}

// journal is what the agent, and systemd about it, have logged since the boot until now.
func (n *node) journal() string {
	if _, err := n.try("journalctl", "--sync"); err != nil { // what was said may still be on its way
		return err.Error()
	}
	out, err := n.try("journalctl", "--no-pager", "--boot", "--output=short-precise", "--unit=ktrdr-agent")
	if err != nil {
		return err.Error()
	}
	return out
}

// words leaves the traces that a killed agent has written out of a journal.
func words(journal string) string {
	var kept []string
	for line := range strings.Lines(journal) {
		if strings.Contains(line, "systemd[1]: ") || strings.Contains(line, "]: time=") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept[max(0, len(kept)-60):], "")
}

// put writes a file of the machine.
func (n *node) put(path, text string, mode os.FileMode) {
	n.t.Helper()
	if err := os.MkdirAll(filepath.Dir(n.Disk(path)), 0o755); err != nil { //nolint:gosec // as on any system
		n.t.Fatal(err)
	}
	if err := os.WriteFile(n.Disk(path), []byte(text), mode); err != nil {
		n.t.Fatal(err)
	}
}

// configure writes the agent's configuration with a source, and turns the unit on as the
// README says.
func (n *node) configure(source string) {
	n.t.Helper()
	n.put("/etc/ktrdr/secrets.env", "TOKEN="+secret+"\n", 0o600)
	n.put("/etc/ktrdr/agent.yaml", "node: "+n.name()+"\nsecrets: {dotenv: {file: /etc/ktrdr/secrets.env}}\n"+
		"source:\n  git:\n    branch: main\n    pollInterval: 1s\n"+indent(source, 4), 0o600)
	n.run("systemctl", "enable", "--now", "--quiet", "ktrdr-agent")
}

// secret is the value of op://nodes/app/token.
const secret = "the-token-5b1e"

func indent(text string, by int) string {
	pad := strings.Repeat(" ", by)
	return pad + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+pad) + "\n"
}

// write writes a file of the repository.
func (n *node) write(name, text string) {
	n.t.Helper()
	path := filepath.Join(n.repo, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // no secrets in it
		n.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // no secrets in it
		n.t.Fatal(err)
	}
}

// spec writes the node's file.
func (n *node) spec(yaml string) {
	n.t.Helper()
	n.write("nodes/"+n.name()+".yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: "+n.name()+"}\nspec:\n"+indent(yaml, 2))
}

// push commits a Compose file with all else and pushes it.
func (n *node) push(compose string) (commit string) {
	n.t.Helper()
	n.write("stacks/app/compose.yaml", compose)
	n.git("add", "--all")
	n.git("commit", "--quiet", "--message", "change")
	n.git("push", "--quiet", "origin", "main")
	return n.git("rev-parse", "HEAD")
}

// git runs git in the working copy, with nothing of this machine's configuration.
func (n *node) git(args ...string) string {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), "git", args...)
	cmd.Dir = n.repo
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "HOME="+n.home,
		"GIT_AUTHOR_NAME=nodes", "GIT_AUTHOR_EMAIL=nodes@example.org", "GIT_COMMITTER_NAME=nodes", "GIT_COMMITTER_EMAIL=nodes@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}
