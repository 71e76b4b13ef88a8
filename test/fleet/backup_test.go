package fleet_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// documented is the block of code of docs/operations.md that has a line, without its indentation.
func documented(t *testing.T, line string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(module, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range strings.Split(string(page), "```") {
		if i%2 == 1 && strings.Contains(block, line) {
			var out strings.Builder
			for l := range strings.Lines(strings.TrimSpace(block)) {
				out.WriteString(strings.TrimLeft(l, " "))
			}
			return out.String() + "\n"
		}
	}
	t.Fatalf("docs/operations.md has no commands with %q", line)
	return ""
}

// TestControllersDiskDied does what docs/operations.md says, as it stands there: a backup by
// root while the unit runs, and the way back when the state folder is gone.
func TestControllersDiskDied(t *testing.T) {
	f := theFleet(t).base(t)
	before, head, n := f.running(t), f.baseOrHead(t), f.controller
	if err := n.put("/usr/local/sbin/ktrdr-backup", documented(t, "ktrdr-controller backup --out"), 0o755); err != nil {
		t.Fatal(err)
	}
	says(t, "ktrdr-backup", n.run(t, "/usr/local/sbin/ktrdr-backup"), "store.backup", "does not hold "+authorityDir)
	n.run(t, "sh", "-ec", "mkdir -m 0700 /root/saved; cp /var/backups/ktrdr/*/* "+authorityDir+"/* /root/saved")
	if got := n.run(t, "sh", "-ec", "stat --format='%n %a' /var/backups/ktrdr/*/*; stat --format='%n %a %U' "+stateDir+"/store"); strings.Count(got, " 600") != 2 || !strings.Contains(got, "store 700 ktrdr-controller") {
		t.Errorf("others may read\n%s", got)
	}
	// Whoever has added the context deletes this file; other tests have not yet.
	credentials := n.run(t, "cat", stateDir+"/admin.yaml")
	n.run(t, "systemctl", "disable", "--now", "--quiet", "ktrdr-controller")
	n.run(t, "rm", "-r", stateDir)
	began := time.Now()
	said := n.run(t, "sh", "-exc", "cd /root/saved\n"+documented(t, "ktrdr-controller restore --from store.backup"))
	says(t, "restore", said, "Nodes: 4, operators: ", "accepted revision "+head)
	if strings.Contains(said, "MISSING") {
		t.Errorf("restore says\n%s", said)
	}
	n.run(t, "systemctl", "enable", "--now", "--quiet", "ktrdr-controller")
	if err := n.put(stateDir+"/admin.yaml", credentials, 0o600); err != nil {
		t.Fatal(err)
	}
	f.karl.settle(t, head)
	t.Logf("the fleet was whole %s after its controller had lost everything", since(began))
	f.admin.ctl(t, 0, "operator", "list")
	f.karl.git(t, "fetch", "desired-state")
	f.untouched(t, "another disk", before)
}
