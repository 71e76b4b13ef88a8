package lab_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/test/lab"
)

func start(t *testing.T) *lab.Node {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short: a node takes seconds")
	}
	n, err := lab.Start(t.Context())
	if errors.Is(err, lab.ErrUnavailable) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// leftovers are files, groups, processes and mounts that name a node.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	name := filepath.Base(dir)
	var found []string
	for _, pattern := range []string{dir, "/sys/fs/cgroup/*/" + name, "/sys/fs/cgroup/" + name} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, paths...)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, name) {
			found = append(found, line)
		}
	}
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environs {
		if env, err := os.ReadFile(path); err == nil && strings.Contains(string(env), "KTRDR_LAB="+dir+"\x00") {
			found = append(found, path)
		}
	}
	return found
}

// TestNodeIsApart: what a node mounts and listens on is its own, and nothing of it is left.
func TestNodeIsApart(t *testing.T) {
	n := start(t)
	if _, err := n.Run(t.Context(), "mount", "-t", "tmpfs", "tmpfs", "/mnt"); err != nil {
		t.Fatal(err)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), " /mnt ") {
		t.Errorf("a mount of the node is seen outside: %v", err)
	}
	links, err := n.Run(t.Context(), "ip", "-o", "link")
	if err != nil || !strings.Contains(links, "docker0") || strings.Contains(links, "eth0") {
		t.Errorf("links of the node: %s (%v)", links, err)
	}
	if err := n.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Ping(t.Context()); err != nil {
		t.Errorf("after the reboot: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, n.Dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestSweep: a node whose owner is gone is found and removed; one with a living owner stays.
func TestSweep(t *testing.T) {
	orphan, mine := start(t), start(t)
	if err := os.WriteFile(filepath.Join(orphan.Dir, "owner"), []byte("1 0"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := lab.Sweep(); err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, orphan.Dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	if err := mine.Ping(t.Context()); err != nil {
		t.Errorf("a node in use was swept: %v", err)
	}
}
