package nodes_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/lab"
)

// whatTheUnitAllows needs everything that hardening could take away: files of the
// repository bound into a container, a probed share, probes by exec, jobs.
const whatTheUnitAllows = `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    healthcheck: {test: ["CMD", "curl", "-f", "http://localhost:8080/"], interval: 10s}
    volumes: ["./web.conf:/etc/web.conf:ro"]
    depends_on: {prepare: {condition: service_completed_successfully}}
  prepare:
    image: ktrdr-demo:1
    command: ["sh", "-c", "cat /etc/web.conf"]
    restart: "no"
    healthcheck: {disable: true}
    volumes: ["./web.conf:/etc/web.conf:ro"]
  user:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "user"]
    restart: unless-stopped
    healthcheck: {disable: true}
    volumes: ["/mnt/share:/data"]
`

// TestUnit installs the agent as the README says, with git over ssh, and holds its unit to
// what it promises.
func TestUnit(t *testing.T) {
	n := newNode(t, lab.MachineOptions{})
	n.write("stacks/app/web.conf", "listen 8080\n")
	n.spec("stacks: [{name: app}]\nmounts: [{path: /mnt/share, type: tmpfs, writable: true, gid: 1500, timeout: 1s}]")
	first := n.push(whatTheUnitAllows)
	n.configure(n.serveSSH())
	// Readiness is told when the socket answers: what starts after the unit can use it.
	if _, err := n.status(); err != nil {
		t.Errorf("systemctl start has returned, and the agent does not answer: %v", err)
	}
	n.await("what binds the share waits, all else runs", func(st api.NodeStatus) bool {
		return service(st, "web").Converged && service(st, "user").Reason == api.ReasonMountMissing
	})
	// A mount of the host that comes later has to reach the agent.
	n.run("mkdir", "-p", "/mnt/share")
	n.run("mount", "-t", "tmpfs", "-o", "mode=2770,gid=1500,uid=65534", "nas", "/mnt/share")
	n.reached(first)
	u := unit{n}
	u.verifies()
	u.isConfined()
	u.seesProcesses()
	u.speaksPlainly()
	u.isUpgraded()
	u.givesUp()
	u.isWatched()
}

type unit struct{ *node }

// verifies lets the node's own systemd judge the unit.
func (u unit) verifies() {
	u.t.Helper()
	if out := u.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "/etc/systemd/system/ktrdr-agent.service"); out != "" {
		u.t.Errorf("systemd-analyze verify: %s", out)
	}
	// 10 is a service with no hardening at all; the engine's own has 96 here.
	if out, err := u.try("systemd-analyze", "security", "--no-pager", "--threshold=35", "ktrdr-agent"); err != nil {
		u.t.Errorf("systemd-analyze security: %v: %s", err, out)
	}
	if _, err := u.try("systemd-analyze", "security", "--no-pager", "--threshold=35", "docker"); err == nil {
		u.t.Error("systemd-analyze security finds docker.service hardened too: this test proves nothing")
	}
}

// isConfined checks limits where the kernel has them.
func (u unit) isConfined() {
	u.t.Helper()
	const cgroup = "system.slice/ktrdr-agent.service/memory."
	read := "cat /sys/fs/cgroup/memory/" + cgroup + "limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/" + cgroup + "max"
	if got := u.run("sh", "-c", read); got != strconv.Itoa(128<<20) {
		u.t.Errorf("the kernel's memory limit is %s", got)
	}
	peak := u.run("sh", "-c", "cat /sys/fs/cgroup/memory/"+cgroup+"max_usage_in_bytes 2>/dev/null || cat /sys/fs/cgroup/"+cgroup+"peak")
	if bytes, err := strconv.Atoi(peak); err != nil || bytes > 100<<20 {
		u.t.Errorf("at most %s bytes of memory were used, of 128 MB (%v)", peak, err)
	} else {
		u.t.Logf("most memory used: %d MB of 128", bytes>>20)
	}
	pid := u.property("MainPID")
	if got := u.run("sh", "-c", "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/"+pid+"/status | tr -s '\\t\\n' ' '"); got != "CapEff: 0000000000000047 NoNewPrivs: 1 Seccomp: 2" {
		u.t.Errorf("the agent's process has %s", got)
	}
	if out, err := u.try("nsenter", "--target", pid, "--mount", "touch", "/usr/bin/planted"); err == nil || !strings.Contains(out, "Read-only") {
		u.t.Errorf("the agent's file system can be written: %v %s", err, out)
	}
}

// seesProcesses: the agent holds a pidfd of each running container's process.
func (u unit) seesProcesses() {
	u.t.Helper()
	eventually(u.t, "a pidfd of each running container", func() bool {
		out, _ := u.try("ls", "-l", "/proc/"+u.property("MainPID")+"/fd") // fails for what is closed meanwhile
		return strings.Count(out, "[pidfd]") >= 2
	})
}

// speaksPlainly: the journal has words, no stack traces.
func (u unit) speaksPlainly() {
	u.t.Helper()
	journal := u.journal()
	if !strings.Contains(journal, "ktrdr-agent[") || strings.Contains(journal, "goroutine ") || strings.Contains(journal, "panic") {
		u.t.Errorf("journal:\n%s", journal)
	}
}

// isUpgraded replaces the program as docs/operations.md says.
func (u unit) isUpgraded() {
	u.t.Helper()
	before := u.containers()
	data, err := os.ReadFile(world.upgrade)
	if err != nil {
		u.t.Fatal(err)
	}
	if st, err := u.status(); err != nil || st.Version != version {
		u.t.Errorf("version before: %q %v", st.Version, err)
	}
	u.put("/usr/bin/ktrdr-agent.new", string(data), 0o755)
	u.run("mv", "/usr/bin/ktrdr-agent.new", "/usr/bin/ktrdr-agent")
	u.run("systemctl", "restart", "ktrdr-agent")
	u.await("the new version has converged", func(st api.NodeStatus) bool { return st.Version == upgraded && converged(st) })
	u.untouched(before)
	if out := u.run("ktrdrctl", "status"); !strings.Contains(out, "user") {
		u.t.Errorf("ktrdrctl status says %s", out)
	}
}

// givesUp: an invalid configuration is told once, and not tried again until somebody says so.
func (u unit) givesUp() {
	u.t.Helper()
	const file = "/etc/ktrdr/agent.yaml"
	before, config := u.containers(), u.run("cat", file)
	u.put(file, config+"\nnonsense: 1\n", 0o600)
	if out, err := u.try("systemctl", "restart", "ktrdr-agent"); err == nil {
		u.t.Errorf("an agent with an invalid configuration is started: %s", out)
	}
	journal := u.journal()
	time.Sleep(5 * time.Second) // twice RestartSec: what must not happen has no end to wait for
	if state, code := u.property("ActiveState"), u.property("ExecMainStatus"); state != "failed" || code != "78" || u.property("NRestarts") != "0" {
		u.t.Errorf("the unit is %s with %s, %s restarts", state, code, u.property("NRestarts"))
	}
	if now := u.journal(); now != journal || strings.Count(now, "nonsense: 1") != 1 {
		u.t.Errorf("the journal goes on, or does not say once what is wrong:\n%s", now)
	}
	u.put(file, config+"\n", 0o600)
	u.run("systemctl", "restart", "ktrdr-agent")
	u.await("the corrected configuration works", converged)
	u.untouched(before)
}

// isWatched: the watchdog is fed, and bites an agent that hangs.
func (u unit) isWatched() {
	u.t.Helper()
	before := u.containers()
	u.put("/etc/systemd/system/ktrdr-agent.service.d/watchdog.conf", "[Service]\nWatchdogSec=10s\n", 0o644)
	u.run("systemctl", "daemon-reload")
	u.run("systemctl", "restart", "ktrdr-agent")
	first, pid := u.property("WatchdogTimestampMonotonic"), u.property("MainPID")
	seen := map[string]bool{first: true}
	eventually(u.t, "the watchdog is fed for more than its time", func() bool {
		seen[u.property("WatchdogTimestampMonotonic")] = true
		return len(seen) > 4 // it is fed three times in its time
	})
	if u.property("MainPID") != pid || u.property("NRestarts") != "0" {
		u.t.Errorf("systemd has restarted an agent that is well")
	}
	u.run("kill", "-STOP", pid)
	eventually(u.t, "a hung agent is restarted", func() bool {
		return u.property("NRestarts") == "1" && u.property("ActiveState") == "active" && u.property("MainPID") != pid
	})
	u.await("converged", converged)
	// A host that hangs for longer than that comes back as well, whoever systemd takes for hung.
	u.hang(12 * time.Second)
	u.await("converged after a hang of the node", converged)
	u.untouched(before)
	if _, err := os.Stat(filepath.Join(u.Path("/run/ktrdr"), "agent.sock")); err != nil {
		u.t.Error(err)
	}
}
