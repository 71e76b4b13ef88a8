package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

const twoServices = `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    healthcheck: {disable: true}
  other:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "other"]
    restart: unless-stopped
    healthcheck: {disable: true}
`

// edited is compose with another environment of its first service.
func edited(compose, value string) string {
	return strings.Replace(compose, "    image: ktrdr-demo:1\n", "    image: ktrdr-demo:1\n    environment: {CHANGED: \""+value+"\"}\n", 1)
}

// TestEditConverges: an edit replaces the one container that it concerns.
func TestEditConverges(t *testing.T) {
	a := newAgent(t, twoServices, "")
	a.start()
	a.converged()
	web, other := a.on.must(t, a.name("web")), a.on.must(t, a.name("other"))
	began := time.Now()
	a.change(func() { a.compose(edited(twoServices, "yes")) })
	t.Logf("from the edit to converged: %s", time.Since(began).Round(time.Millisecond))
	if !a.on.must(t, a.name("other")).same(other) {
		t.Error("a container that the edit does not concern was touched")
	}
	if got := a.on.must(t, a.name("web")); got.ID == web.ID || !got.State.Running {
		t.Error("the edited container was not replaced by a running one")
	}
	if got := a.on.names(t, a.project); len(got) != 2 {
		t.Errorf("containers of the project: %v", got)
	}
}

// TestHeals is acceptance scenario 14: what people and bad luck do to containers and
// networks is repaired.
func TestHeals(t *testing.T) {
	a := newAgent(t, twoServices, "")
	a.start()
	a.converged()
	web, other, network := a.name("web"), a.name("other"), a.net("default")
	cut := func(name string) {
		a.on.post(t, "/networks/"+network+"/disconnect", map[string]any{"Container": name, "Force": true})
	}
	damages := []struct {
		name string
		do   func()
	}{
		{"removed", func() { a.on.remove(t, web) }},
		{"stopped", func() { a.on.post(t, "/containers/"+web+"/stop?t=1", nil) }},
		{"killed", func() { a.on.post(t, "/containers/"+web+"/kill", nil) }},
		{"paused", func() { a.on.post(t, "/containers/"+web+"/pause", nil) }},
		{"renamed", func() { a.on.post(t, "/containers/"+web+"/rename?name="+a.project+"-by-hand", nil) }},
		{"limits edited", func() {
			a.on.post(t, "/containers/"+web+"/update", map[string]any{"Memory": 64 << 20, "MemorySwap": 128 << 20, "RestartPolicy": map[string]any{"Name": "no"}})
		}},
		{"disconnected", func() { cut(web) }},
		{"network removed", func() {
			cut(web)
			cut(other)
			// The agent may be faster than the hand.
			_ = a.on.call(t.Context(), http.MethodDelete, "/networks/"+network, nil, nil)
		}},
	}
	for _, d := range damages {
		began := time.Now()
		d.do()
		err := poll(t.Context(), time.Minute, func() bool { return a.whole(web, "web") && a.whole(other, "other") })
		if err != nil {
			t.Fatalf("%s: not repaired: %+v", d.name, a.on.container(t, web))
		}
		t.Logf("%s: whole again %s after the damage was done", d.name, time.Since(began).Round(time.Millisecond))
		a.converged()
	}
	if got := a.on.names(t, a.project); len(got) != 2 {
		t.Errorf("containers of the project: %v", got)
	}
}

// whole says that a container runs under its name, without foreign limits, on its network
// with its service alias.
func (a *agent) whole(name, alias string) bool {
	c := a.on.container(a.t, name)
	if c == nil || c.State.Status != "running" || c.HostConfig.Memory != 0 || c.HostConfig.RestartPolicy.Name != "unless-stopped" {
		return false
	}
	return slices.Contains(c.NetworkSettings.Networks[a.net("default")].Aliases, alias)
}

// TestHealingLatency measures from the return of `docker rm -f` to a running replacement.
func TestHealingLatency(t *testing.T) {
	a := newAgent(t, twoServices, "")
	a.start()
	a.converged()
	var took []time.Duration
	for range 5 {
		before := a.on.must(t, a.name("web"))
		a.on.remove(t, a.name("web"))
		began := time.Now()
		eventually(t, "replacement", time.Minute, func() bool {
			c := a.on.container(t, a.name("web"))
			return c != nil && c.ID != before.ID && c.State.Running
		})
		took = append(took, time.Since(began).Round(time.Millisecond))
		a.await("converged", time.Minute, allConverged)
	}
	t.Logf("docker rm -f to replacement running: %v", took)
}

// TestStopWithoutRestartPolicy: a service that Compose would not restart ends with exit
// code 0 because somebody stopped it. That is no end of its own, so it is started again.
func TestStopWithoutRestartPolicy(t *testing.T) {
	a := newAgent(t, `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    healthcheck: {disable: true}
`, "")
	a.start()
	a.converged()
	a.answers("web", "8080")
	before := a.on.must(t, a.name("web"))
	a.on.post(t, "/containers/"+a.name("web")+"/stop?t=5", nil)
	eventually(t, "started again", time.Minute, func() bool {
		c := a.on.must(t, a.name("web"))
		return c.State.Running && c.State.StartedAt != before.State.StartedAt
	})
	a.converged()
}

// TestCrashLoopBacksOff: a container that crashes at once is not started again and again.
func TestCrashLoopBacksOff(t *testing.T) {
	a := newAgent(t, `
services:
  crash:
    image: ktrdr-demo:1
    command: ["fail-after", "0s", "3"]
    healthcheck: {disable: true}
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    healthcheck: {disable: true}
`, "")
	a.start()
	a.await("crash loop", time.Minute, func(st api.NodeStatus) bool {
		return service(st, a.name("crash")).Reason == api.ReasonCrashLoop
	})
	starts := map[string]bool{}
	look := func() bool {
		starts[a.on.must(t, a.name("crash")).State.StartedAt] = true
		return len(starts) >= 2
	}
	_ = poll(t.Context(), 20*time.Second, func() bool { look(); return false })
	t.Logf("starts within 20 s: %d", len(starts))
	if len(starts) > 7 {
		t.Errorf("%d starts within 20 s: wanted a few, ever more seldom", len(starts))
	}
	eventually(t, "another start", 3*time.Minute, look)
	st := a.status()
	if st.Stacks[0].Converged {
		t.Error("a stack whose service crashes is reported as converged")
	}
	a.await("a message that names the exit code", time.Minute, func(st api.NodeStatus) bool {
		return strings.Contains(service(st, a.name("crash")).Message, "exit code 3")
	})
	if !a.on.running(t, a.name("web")) {
		t.Error("the other service is held up")
	}
}

// TestUnhealthyRestarts: a container that fails the healthcheck of its own Compose file is
// restarted, with a back-off.
func TestUnhealthyRestarts(t *testing.T) {
	a := newAgent(t, `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    healthcheck:
      test: ["CMD", "curl", "-fs", "http://localhost:9999/"]
      interval: 1s
      timeout: 1s
      retries: 2
      start_period: 1ms # the image's own is 30 s
`, "")
	a.start()
	var starts []time.Time
	look := func() {
		c := a.on.container(t, a.name("web"))
		if c == nil || !c.State.Running {
			return
		}
		at, err := time.Parse(time.RFC3339Nano, c.State.StartedAt)
		if err != nil {
			t.Fatal(err)
		}
		if len(starts) == 0 || !at.Equal(starts[len(starts)-1]) {
			starts = append(starts, at)
		}
	}
	eventually(t, "restarted", 2*time.Minute, func() bool { look(); return len(starts) == 2 })
	t.Logf("restarted %s after the start", starts[1].Sub(starts[0]))
	_ = poll(t.Context(), 20*time.Second, func() bool { look(); return len(starts) > 2 })
	// Between the two starts the agent takes the time of the first restart from its own clock.
	if len(starts) > 2 && starts[2].Sub(starts[1]) < 20*time.Second {
		t.Errorf("starts at %v, wanted one restart at once and the next after 30 s", starts)
	}
	if st := a.status(); st.Stacks[0].Converged {
		t.Error("an unhealthy service counts as converged")
	}
}

// TestAgentKilled: the agent dies in the middle of work; the next one finishes it.
func TestAgentKilled(t *testing.T) {
	a := newAgent(t, twoServices, "")
	for i := range 6 {
		a.start()
		_ = poll(t.Context(), time.Duration(i)*150*time.Millisecond, func() bool { return false })
		a.kill()
	}
	a.start()
	st := a.converged()
	if len(st.Stacks[0].Services) != 2 || len(a.on.names(t, a.project)) != 2 {
		t.Errorf("containers of the project: %v", a.on.names(t, a.project))
	}
	before := a.on.snapshot(t, a.name("web"), a.name("other"))
	a.kill()
	a.start()
	a.converged()
	a.on.untouched(t, before)
}

// TestHold: while a hold is on, damage stays; afterwards it is repaired.
func TestHold(t *testing.T) {
	a := newAgent(t, twoServices, "")
	a.start()
	a.converged()
	a.ctl(0, "hold", "app", "--for", "1h", "--why", "maintenance")
	a.on.remove(t, a.name("web"))
	a.await("on hold", time.Minute, func(st api.NodeStatus) bool { return st.Stacks[0].Reason == api.ReasonOnHold })
	during(t, "left alone", 2*time.Second, func() bool { return a.on.container(t, a.name("web")) == nil })
	// A restart of the agent forgets no hold.
	a.restart()
	a.await("on hold after a restart", time.Minute, func(st api.NodeStatus) bool {
		return len(st.Stacks) == 1 && st.Stacks[0].Reason == api.ReasonOnHold
	})
	if a.on.container(t, a.name("web")) != nil {
		t.Error("the container was repaired although the stack is on hold")
	}
	a.ctl(0, "resume", "app")
	a.converged()
	a.on.must(t, a.name("web"))
}
