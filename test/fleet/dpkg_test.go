package fleet_test

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestInstalledOnly: the agent on a machine that is no node yet waits for nothing and tries
// nothing, and leaves nothing behind. ktrdrctl of the package knows the fleet.
func TestInstalledOnly(t *testing.T) {
	f := theFleet(t).base(t)
	n := f.controller
	said := n.installed(t, version, "ktrdr-agent", "ktrdrctl")
	says(t, "dpkg", said, "ktrdr-agent join", "systemctl enable --now ktrdr-agent")
	if got := n.turnedOn("ktrdr-agent"); got != "disabled" {
		t.Errorf("the unit is %s after the installation", got)
	}
	n.run(t, "systemctl", "start", "ktrdr-agent")
	if got := n.unit(t, "ktrdr-agent", "ActiveState"); got != "inactive" {
		t.Errorf("an agent without a configuration is %s", got)
	}
	journal := n.journal("ktrdr-agent")
	says(t, "the journal", journal, "unmet condition", "ConditionPathExists=/etc/ktrdr/agent.yaml")
	time.Sleep(3 * time.Second) // longer than RestartSec
	if now := n.journal("ktrdr-agent"); now != journal || n.unit(t, "ktrdr-agent", "NRestarts") != "0" {
		t.Errorf("an agent that is no node is tried again and again:\n%s", now)
	}

	const mine = "KTRDR_CONFIG=/root/ktrdr-config"
	n.run(t, "env", mine, "ktrdrctl", "context", "add", "home", "--from", stateDir+"/admin.yaml")
	says(t, "ktrdrctl status", n.run(t, "env", mine, "ktrdrctl", "status"), "c     Converged", "gpu   Converged")
	n.run(t, "rm", "/root/ktrdr-config")

	said = n.run(t, "dpkg", "--purge", "ktrdr-agent", "ktrdrctl")
	if strings.Contains(said, "/var/lib/ktrdr is kept") {
		t.Errorf("the purge of an agent that never ran tells of its memory:\n%s", said)
	}
	for _, path := range []string{"/usr/bin/ktrdr-agent", "/usr/bin/ktrdr-exec", "/usr/bin/ktrdrctl", "/lib/systemd/system/ktrdr-agent.service", "/var/lib/ktrdr", "/usr/share/doc/ktrdr-agent"} {
		if _, err := os.Lstat(n.Path(path)); err == nil {
			t.Errorf("a purge leaves %s", path)
		}
	}
	if got := n.turnedOn("ktrdr-agent"); got != "no unit" {
		t.Errorf("the unit is %s after the purge", got)
	}
	f.karl.settle(t, f.baseOrHead(t))
}

// baseOrHead is the revision that the fleet has.
func (f *fleet) baseOrHead(t *testing.T) string {
	t.Helper()
	return f.karl.status(t).Head.Revision
}

// hasVersions waits until the fleet is whole, and nodes have these versions.
func (f *fleet) hasVersions(t *testing.T, what string, versions map[string]string) {
	t.Helper()
	f.karl.await(t, what, func(d *document) bool {
		for _, n := range d.Nodes {
			if want := versions[n.Name]; want != "" && (n.Version != want || !n.Connected) {
				return false
			}
		}
		return d.settled(d.Head.Revision)
	})
}

// TestUpgrade upgrades controller and agents by their packages, the controller first, and
// goes back with one node and the controller. No container is touched.
func TestUpgrade(t *testing.T) {
	f := theFleet(t).base(t)
	before, pids := f.running(t), map[string]string{}
	kept := map[string]map[string]string{}
	for name, n := range f.nodes {
		kept[name], pids[name] = n.files(t, agentFiles...), n.unit(t, "ktrdr-agent", "MainPID")
	}
	ours, pid := f.controller.files(t, controllerFiles...), f.controller.unit(t, "ktrdr-controller", "MainPID")
	began := time.Now()
	f.controller.installed(t, upgraded, "ktrdr-controller")
	if f.controller.unit(t, "ktrdr-controller", "MainPID") == pid {
		t.Error("the controller before the upgrade still runs")
	}
	f.karl.await(t, "agents of the version before are connected", func(d *document) bool { return d.settled(d.Head.Revision) })
	t.Logf("the controller was upgraded and all were connected again after %s", since(began))
	all := map[string]string{}
	for name, n := range f.nodes {
		n.installed(t, upgraded, "ktrdr-agent")
		all[name] = upgraded
		if n.unit(t, "ktrdr-agent", "MainPID") == pids[name] || n.turnedOn("ktrdr-agent") != "enabled" {
			t.Errorf("the agent of %s before the upgrade still runs, or is %s", name, n.turnedOn("ktrdr-agent"))
		}
	}
	f.hasVersions(t, "all are upgraded", all)
	t.Logf("all were upgraded after %s", since(began))

	c := f.nodes["c"]
	says(t, "dpkg", c.installed(t, version, "ktrdr-agent"), "downgrading")
	says(t, "dpkg", f.controller.installed(t, version, "ktrdr-controller"), "downgrading")
	f.hasVersions(t, "c and the controller are of the version before", map[string]string{"a": upgraded, "c": version})
	if out := f.controller.run(t, "ktrdr-controller", "version"); !strings.HasPrefix(out, version) {
		t.Errorf("the controller is of version %s", out)
	}
	f.controller.installed(t, upgraded, "ktrdr-controller")
	c.installed(t, upgraded, "ktrdr-agent")
	c.installed(t, upgraded, "ktrdr-agent") // the same again
	f.hasVersions(t, "all are upgraded again", all)
	f.untouched(t, "upgrade", before)
	for name, n := range f.nodes {
		n.keeps(t, "upgrade", kept[name], agentFiles...)
	}
	f.controller.keeps(t, "upgrade", ours, controllerFiles...)
}

// TestTroubledUpgrade: what can go wrong with an upgrade is said, and nothing is lost.
func TestTroubledUpgrade(t *testing.T) {
	f := theFleet(t).base(t)
	c, before := f.nodes["c"], f.running(t, "c")
	const own, packaged = "/etc/systemd/system/ktrdr-agent.service", "/lib/systemd/system/ktrdr-agent.service"

	// A unit of a join before the package gives way, one that somebody has changed does not.
	c.run(t, "cp", packaged, own)
	c.run(t, "systemctl", "reenable", "--quiet", "ktrdr-agent")
	c.installed(t, upgraded, "ktrdr-agent")
	if got := c.unit(t, "ktrdr-agent", "FragmentPath"); got != packaged || c.turnedOn("ktrdr-agent") != "enabled" {
		t.Errorf("the unit in force is %s, %s", got, c.turnedOn("ktrdr-agent"))
	}
	c.run(t, "sh", "-c", "sed 's/^RestartSec=.*/RestartSec=1s/' "+packaged+" >"+own)
	says(t, "dpkg", c.installed(t, upgraded, "ktrdr-agent"), own+" is in force in place of the package's")
	if got := c.unit(t, "ktrdr-agent", "FragmentPath"); got != own {
		t.Errorf("the unit in force is %s", got)
	}
	c.run(t, "rm", own)

	// A configuration that the new version does not understand.
	config := c.files(t, "/etc/ktrdr")["/etc/ktrdr/agent.yaml"]
	if err := c.put("/etc/ktrdr/agent.yaml", config+"nonsense: 1\n", 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, "dpkg", c.installed(t, upgraded, "ktrdr-agent"), "does not start", "journalctl -u ktrdr-agent")
	journal := c.journal("ktrdr-agent")
	says(t, "the journal", journal, "the configuration is invalid", "nonsense")
	time.Sleep(3 * time.Second) // longer than RestartSec
	if now := c.journal("ktrdr-agent"); now != journal || c.unit(t, "ktrdr-agent", "ActiveState") != "failed" {
		t.Errorf("an invalid configuration is tried again and again:\n%s", now)
	}
	f.untouched(t, "an agent that does not start", before, "c")
	if err := c.put("/etc/ktrdr/agent.yaml", config, 0o600); err != nil {
		t.Fatal(err)
	}
	c.installed(t, upgraded, "ktrdr-agent") // as going back to the package before does
	f.hasVersions(t, "c is back", map[string]string{"c": upgraded})

	// What does not stop is not removed.
	if err := c.put("/etc/systemd/system/ktrdr-agent.service.d/keep.conf", "[Unit]\nRefuseManualStop=yes\n", 0o644); err != nil {
		t.Fatal(err)
	}
	c.run(t, "systemctl", "daemon-reload")
	out, err := c.try("dpkg", "--remove", "ktrdr-agent")
	if err == nil {
		t.Error("a running agent was removed")
	}
	says(t, "dpkg", out, "ktrdr-agent.service does not stop")
	if got := c.turnedOn("ktrdr-agent"); got != "enabled" || c.known("ktrdr-agent") != "installed "+debian(upgraded) || c.unit(t, "ktrdr-agent", "ActiveState") != "active" {
		t.Errorf("after a refused removal the package is %s, the unit %s", c.known("ktrdr-agent"), got)
	}
	c.run(t, "rm", "-r", "/etc/systemd/system/ktrdr-agent.service.d")
	c.run(t, "systemctl", "daemon-reload")
	f.hasVersions(t, "c is connected", map[string]string{"c": upgraded})
	f.untouched(t, "troubled upgrades", before, "c")
}

// TestRemoveAgent removes an agent's package, purges it and installs it again. Containers run
// on, can be restarted meanwhile, and are taken over by the agent that comes back.
func TestRemoveAgent(t *testing.T) {
	f := theFleet(t).base(t)
	c := f.nodes["c"]
	before, kept := f.running(t, "c"), c.files(t, agentFiles...)
	t.Logf("dpkg --remove says:\n%s", c.run(t, "dpkg", "--remove", "ktrdr-agent"))
	if got := c.turnedOn("ktrdr-agent"); got != "no unit" || c.unit(t, "ktrdr-agent", "LoadState") != "not-found" {
		t.Errorf("the unit is %s after the removal", got)
	}
	for _, path := range []string{"/usr/bin/ktrdr-agent", "/usr/bin/ktrdr-exec", "/etc/systemd/system/multi-user.target.wants/ktrdr-agent.service"} {
		if _, err := os.Lstat(c.Path(path)); err == nil {
			t.Errorf("the removal leaves %s", path)
		}
	}
	f.karl.await(t, "the controller knows that c is away", func(d *document) bool { return !d.Nodes[d.index(t, "c")].Connected })
	f.untouched(t, "removal of the agent", before, "c")
	// It has secrets: shim and values are still there.
	c.run(t, "docker", "restart", "backtest-worker-1")
	eventually(t, "a container that is restarted without an agent runs", func() bool {
		all, err := c.containers()
		return err == nil && all["backtest-worker-1"].State.Running && time.Since(all["backtest-worker-1"].State.StartedAt) > time.Second
	})
	before = f.running(t, "c")
	said := c.run(t, "dpkg", "--purge", "ktrdr-agent")
	says(t, "dpkg --purge", said, "/etc/ktrdr is kept", "/var/lib/ktrdr is kept")
	c.keeps(t, "purge", kept, agentFiles...)
	f.untouched(t, "purge of the agent", before, "c")
	says(t, "dpkg", c.installed(t, upgraded, "ktrdr-agent"), "systemctl enable --now ktrdr-agent")
	began := time.Now()
	c.run(t, "systemctl", "enable", "--now", "--quiet", "ktrdr-agent")
	f.hasVersions(t, "c is back", map[string]string{"c": upgraded})
	t.Logf("the node was whole %s after the agent's start", since(began))
	f.untouched(t, "the agent is back", before, "c")
}

// TestRemoveController purges the controller's package while it runs and installs it again:
// the fleet's authority and repository are still there.
func TestRemoveController(t *testing.T) {
	f := theFleet(t).base(t)
	before, kept, head := f.running(t), f.controller.files(t, controllerFiles...), f.baseOrHead(t)
	n := f.controller
	said := n.run(t, "dpkg", "--purge", "ktrdr-controller")
	says(t, "dpkg --purge", said, "/etc/ktrdr is kept", stateDir+" is kept")
	n.keeps(t, "purge", kept, controllerFiles...)
	if got := n.turnedOn("ktrdr-controller"); got != "no unit" || strings.HasPrefix(n.known("ktrdr-controller"), "installed") {
		t.Errorf("after a purge the package is %s, the unit %s", n.known("ktrdr-controller"), got)
	}
	if owner := n.run(t, "stat", "--format=%U %a", authorityDir+"/ca.key"); owner != "ktrdr-controller 600" {
		t.Errorf("the authority's key is of %s", owner)
	}
	f.untouched(t, "purge of the controller", before)
	says(t, "dpkg", n.installed(t, upgraded, "ktrdr-controller"), "systemctl enable --now ktrdr-controller")
	if a := f.karl.try("ktrdrctl", "status"); a.code != 4 {
		t.Errorf("a controller that nobody started: ktrdrctl status ends with %s", a)
	}
	n.run(t, "systemctl", "enable", "--now", "--quiet", "ktrdr-controller")
	f.karl.settle(t, head)
	f.admin.ctl(t, 0, "operator", "list")
	n.keeps(t, "the controller is back", kept, controllerFiles...)
	f.untouched(t, "the controller is back", before)
}
