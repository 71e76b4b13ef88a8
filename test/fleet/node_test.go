package fleet_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/test/lab"
)

// node is a machine with the agent installed.
type node struct {
	*lab.Machine
	name string
	line *lab.Line
}

// Names of nodes, and what they are called on the network.
var hostnames = map[string]string{ //nolint:gochecknoglobals // a table
	"a": "backend.lab", "b": "workers-b.lab", "c": "workers-c.lab", "gpu": "gpu.lab",
}

// bootNode boots a machine and gives it the packages and the demonstration's images.
func bootNode(ctx context.Context, name string, seed uint64) (*node, error) {
	n := &node{name: name, line: lab.NewLine(seed)}
	options := machineOptions(name, hostnames[name], func(root string) error { return installNode(name, root) })
	options.Line = n.line
	var err error
	if n.Machine, err = world.network.Boot(ctx, options); err != nil {
		return n, err
	}
	if _, err := n.install(ctx, version, "ktrdr-agent", "ktrdrctl"); err != nil {
		return n, err
	}
	return n, loadImages(ctx, n.Machine)
}

// file is one that Install puts on a disk.
type file struct {
	path, text string
	mode       os.FileMode
}

// installNode puts on the disk what a node of the homelab has: a share with last night's
// backup, the values of secrets, and a configuration that says where those are.
func installNode(name, root string) error {
	share := ""
	for _, folder := range []string{"strategies", "models", "data", "checkpoints", "backups"} {
		share += "d /mnt/ktrdr_data/" + folder + " 2775 999 1500\n"
	}
	share += "C /mnt/ktrdr_data/backups/ktrdr-nightly.dump 0664 999 1500 - /srv/nightly.dump\n"
	return writeFiles(root, []file{
		{"srv/nightly.dump", strings.Repeat("x", 1<<20), 0o644},
		{"etc/fstab", "nas /mnt/ktrdr_data tmpfs mode=2775,uid=999,gid=1500 0 0\n", 0o644},
		{"etc/tmpfiles.d/share.conf", share, 0o644},
		{"etc/ktrdr/secrets.env", secretsFile(), 0o600},
		{"etc/ktrdr/agent.yaml", agentConfig(name) + "source:\n  controller: {endpoints: ['" + controllerAddress + "']}\n", 0o600},
	})
}

// agentConfig is the part that every source has.
func agentConfig(name string) string {
	return "node: " + name + "\nsecrets: {dotenv: {file: /etc/ktrdr/secrets.env}, refresh: 1s}\n"
}

func writeFiles(root string, files []file) error {
	for _, f := range files {
		to := filepath.Join(root, f.path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // as on any system
			return err
		}
		if err := os.WriteFile(to, []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string, mode os.FileMode) error {
	data, err := os.ReadFile(from) //nolint:gosec // a file of the test
	if err != nil {
		return err
	}
	return writeFiles(filepath.Dir(to), []file{{filepath.Base(to), string(data), mode}})
}

// run runs a program on the machine and ends the test when it fails.
func (n *node) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := n.try(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (n *node) try(name string, args ...string) (string, error) {
	ctx, cancel := contextFor(limit)
	defer cancel()
	out, err := n.Run(ctx, name, args...)
	return strings.TrimSpace(out), err
}

// put writes a file of the running machine.
func (n *node) put(path, text string, mode os.FileMode) error {
	return writeFiles(n.Path("/"), []file{{path, text, mode}})
}

// journal is what a unit has logged since the boot until now.
func (n *node) journal(unit string) string {
	if _, err := n.try("journalctl", "--sync"); err != nil { // what was said may still be on its way
		return err.Error()
	}
	out, err := n.try("journalctl", "--no-pager", "--boot", "--output=short-precise", "--unit="+unit)
	if err != nil {
		return err.Error()
	}
	return out
}

// lastWords are the end of a journal.
func (n *node) lastWords(unit string) string {
	lines := strings.SplitAfter(n.journal(unit), "\n")
	return fmt.Sprintf("%s of %s:\n%s", unit, n.name, strings.Join(lines[max(0, len(lines)-40):], ""))
}

func since(began time.Time) time.Duration { return time.Since(began).Round(10 * time.Millisecond) }

// machineOptions are those of a machine that is called so.
func machineOptions(name, called string, install func(string) error) lab.MachineOptions {
	return lab.MachineOptions{Root: world.root, Name: "node-" + name, Names: []string{called}, Install: install}
}
