package nodes_test

import (
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/lab"
)

// onTheEngine has what the engine starts again by itself, and what it does not.
const onTheEngine = `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    healthcheck: {test: ["CMD", "curl", "-f", "http://localhost:8080/"], interval: 5s}
  once:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "once"]
    restart: "no"
    healthcheck: {disable: true}
  always:
    image: ktrdr-demo:1
    command: ["http", "--port", "8082", "--name", "always"]
    restart: always
    healthcheck: {disable: true}
    networks: [inner]
networks:
  inner: {}
`

// TestEngine ends the engine in every way that happens to it under systemd. The agent is
// not restarted, and every container runs again, the same one.
func TestEngine(t *testing.T) {
	n := newNode(t, lab.MachineOptions{})
	n.spec("stacks: [{name: app}]")
	commit := n.push(onTheEngine)
	n.configure(n.serveHTTPS())
	n.reached(commit)
	e := &ended{node: n, agent: n.property("MainPID"), before: n.containers()}

	e.after("kill -9", 3, func() { n.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", "docker") })
	e.after("restart", 3, func() { n.run("systemctl", "restart", "docker") })
	e.after("restart of containerd", 0, func() { n.run("systemctl", "restart", "containerd") })
	e.after("kill -9 of a shim", 1, func() { n.run("pkill", "--signal", "KILL", "--oldest", "containerd-shim") })
	e.after("loss of a shim and of containerd, who take a death with them", 1, e.loseDeath)
	e.after("hang of the whole node", 0, func() { n.hang(10 * time.Second) })
	t.Run("upgrade", e.upgraded)
}

type ended struct {
	*node
	agent  string
	before map[string]container
}

// after does something that ends so many containers, and waits until all is well again.
func (e *ended) after(what string, ends int, do func()) {
	e.t.Helper()
	do()
	began := time.Now()
	e.await("converged after "+what, func(st api.NodeStatus) bool {
		return e.restarted() == ends && converged(st) && len(st.Conditions) == 0
	})
	e.t.Logf("%s: all runs again %s after it", what, time.Since(began).Round(time.Millisecond))
	for service, was := range e.before {
		if now := e.containers()[service]; now.ID != was.ID {
			e.t.Errorf("%s: %s was replaced", what, service)
		}
	}
	if pid := e.property("MainPID"); pid != e.agent {
		e.t.Errorf("%s: the agent was restarted", what)
	}
	e.before = e.containers()
}

// restarted counts the containers that run again; -1 unless all run.
func (e *ended) restarted() (count int) {
	for name, was := range e.before {
		var is container
		if err := get(e.Socket(), "/containers/app-"+name+"-1/json", &is); err != nil || !is.State.Running {
			return -1
		}
		if !is.State.StartedAt.Equal(was.State.StartedAt) {
			count++
		}
	}
	return count
}

// loseDeath ends a container so that the engine does not get to know: it calls it running
// for ever.
func (e *ended) loseDeath() {
	e.t.Helper()
	const script = `pid=$(docker inspect --format '{{.State.Pid}}' app-once-1)
shim=$(pgrep --full "containerd-shim.*$(docker inspect --format '{{.Id}}' app-once-1)")
pkill -STOP -x containerd && kill -KILL $shim && kill -KILL $pid && pkill -KILL -x containerd`
	e.run("sh", "-c", script)
}

// hang freezes the machine for as long as nobody gets an answer from it.
func (n *node) hang(d time.Duration) {
	n.t.Helper()
	if err := n.Freeze(); err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := contextFor(d)
	defer cancel()
	var st api.NodeStatus
	if err := ask(ctx, n.Path("/run/ktrdr/agent.sock"), "/v1/status", &st); err == nil {
		n.t.Error("a frozen machine answers")
	}
	if err := n.Thaw(); err != nil {
		n.t.Fatal(err)
	}
}

func (e *ended) upgraded(t *testing.T) {
	folders, missing, err := lab.Engines(t.Context(), module)
	if err != nil {
		t.Fatal(err)
	}
	newer := folders["trixie"]
	if newer == "" {
		t.Skipf("SKIPPED: upgrade of the engine to Debian trixie's: %s", missing)
	}
	parent := e.t
	e.t = t
	defer func() { e.t = parent }()
	e.after("upgrade", 3, func() { e.upgrade(newer) })
}

// upgrade replaces the engine as its package does.
func (e *ended) upgrade(newer string) {
	e.t.Helper()
	was, _ := e.status()
	for _, name := range []string{"usr/sbin/dockerd", "usr/bin/containerd", "usr/bin/containerd-shim-runc-v2", "usr/bin/docker-proxy", "usr/sbin/docker-proxy", "usr/bin/docker-init"} {
		data, err := readIfThere(newer + "/" + name)
		if err != nil {
			e.t.Fatal(err)
		}
		if data == "" {
			continue
		}
		e.put("/"+name+".new", data, 0o755)
		e.run("mv", "/"+name+".new", "/"+name)
	}
	e.run("systemctl", "stop", "docker.service", "docker.socket", "containerd")
	e.run("systemctl", "start", "containerd", "docker.socket", "docker")
	st := e.await("the new engine", func(st api.NodeStatus) bool {
		return st.Engine.Version != "" && st.Engine.Version != was.Engine.Version
	})
	if !strings.HasPrefix(st.Engine.Version, "2") || st.Engine.APIVersion == was.Engine.APIVersion {
		e.t.Errorf("engine %+v, before %+v", st.Engine, was.Engine)
	}
	e.t.Logf("engine %s (API %s) was upgraded to %s (API %s)", was.Engine.Version, was.Engine.APIVersion, st.Engine.Version, st.Engine.APIVersion)
}
