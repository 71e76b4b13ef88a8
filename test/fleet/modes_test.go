package fleet_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// TestModes takes a node from the controller to git and back: it is the same desired state,
// so no container is touched.
func TestModes(t *testing.T) {
	f := theFleet(t).base(t)
	c := f.nodes["c"]
	before := f.running(t)
	joined, err := os.ReadFile(c.Path("/etc/ktrdr/agent.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	credentials := filepath.Join(t.TempDir(), "c.yaml")
	f.admin.ctl(t, 0, "operator", "add", "git-c", "--role", "viewer", "--output", credentials)
	token, authority := readCredentials(t, credentials)
	for path, text := range map[string]string{
		"/etc/ktrdr/git-token": token, "/etc/ktrdr/fleet-ca.pem": authority,
		"/etc/ktrdr/agent.yaml": agentConfig("c") + "source:\n  git:\n    url: https://controller.lab:8443/git/desired-state.git\n" +
			"    username: c\n    tokenFile: /etc/ktrdr/git-token\n    caFile: /etc/ktrdr/fleet-ca.pem\n    pollInterval: 1s\n",
	} {
		if err := c.put(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	c.run(t, "systemctl", "restart", "ktrdr-agent")
	f.awaitAgent(t, c, "follows git", func(st api.NodeStatus) bool { return st.Revision == f.karl.status(t).Head.Revision })
	t.Logf("c followed git %s after the change", since(began))
	f.untouched(t, "controller to git", before)
	f.karl.await(t, "the controller has c as not connected", func(d *document) bool { return !d.Nodes[d.index(t, "c")].Connected })

	if err := c.put("/etc/ktrdr/agent.yaml", string(joined), 0o600); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	c.run(t, "systemctl", "restart", "ktrdr-agent")
	f.karl.await(t, "c is back", func(d *document) bool { return d.settled(d.Head.Revision) })
	t.Logf("c was back at the controller %s after the change", since(began))
	f.untouched(t, "git to controller", before)
}

// awaitAgent polls an agent itself until ok says so of a converged one.
func (f *fleet) awaitAgent(t *testing.T, n *node, what string, ok func(api.NodeStatus) bool) {
	t.Helper()
	eventually(t, n.name+": "+what, func() bool {
		st, err := n.status()
		return err == nil && n.converged() && ok(st)
	})
}

// TestRemoval takes a node out of the fleet: its containers run on, its certificate is good
// for nothing, and it comes back with a new token.
func TestRemoval(t *testing.T) {
	f := theFleet(t).base(t)
	c := f.nodes["c"]
	before := f.running(t)
	stolen := c.identity(t)
	f.admin.ctl(t, 0, "node", "remove", "c", "--yes")
	began := time.Now()
	eventually(t, "the certificate of a removed node is refused", func() bool {
		_, err := connectAs(t, stolen)
		return err != nil && refusesCaller(err)
	})
	t.Logf("the certificate was refused %s after the removal", since(began))
	f.untouched(t, "removal", before)
	out := f.admin.ctl(t, 0, "node", "list")
	t.Logf("ktrdrctl node list:\n%s", out)
	// The certificate that is there has not ended: only who says so replaces it.
	if err := f.join(c, "--force"); err != nil {
		t.Fatal(err)
	}
	f.karl.await(t, "c is back", func(d *document) bool { return d.settled(d.Head.Revision) })
	f.untouched(t, "joined again", before)
}

// TestStolen: with the certificate of node a, one gets what is a's, and nothing else.
func TestStolen(t *testing.T) {
	f := theFleet(t).base(t)
	stolen := f.nodes["a"].identity(t)
	got, err := connectAs(t, stolen)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the slice of a: %v", got.paths)
	for _, path := range got.paths {
		if path != "fleet.yaml" && path != "nodes/a.yaml" && !strings.HasPrefix(path, "stacks/core/") {
			t.Errorf("with the certificate of a one gets %s", path)
		}
	}
	if len(got.paths) < 4 {
		t.Errorf("only %d files: this proves nothing", len(got.paths))
	}
	for name, err := range stolenCalls(t, stolen, got) {
		if err == nil {
			t.Errorf("with the certificate of a one can %s", name)
		}
		t.Logf("%s: %v", name, err)
	}
	f.karl.await(t, "the real a is connected again", func(d *document) bool { return d.settled(d.Head.Revision) })
}
