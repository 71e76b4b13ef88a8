package e2e_test

import (
	"net/http"
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

// TestEditConverges: an edit replaces the one container that it concerns.
func TestEditConverges(t *testing.T) {
	a := newAgent(t, twoServices, "")
	a.start()
	a.converged()
	web, other := mustContainer(t, "e2e-web-1"), mustContainer(t, "e2e-other-1")
	a.change(func() {
		a.compose(`
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    environment: {CHANGED: "yes"}
    restart: unless-stopped
    healthcheck: {disable: true}
  other:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "other"]
    restart: unless-stopped
    healthcheck: {disable: true}
`)
	})
	if got := mustContainer(t, "e2e-other-1"); got.ID != other.ID || got.State.StartedAt != other.State.StartedAt {
		t.Error("a container that the edit does not concern was touched")
	}
	if got := mustContainer(t, "e2e-web-1"); got.ID == web.ID || !got.State.Running {
		t.Error("the edited container was not replaced by a running one")
	}
	if got := names(t, "e2e"); len(got) != 2 {
		t.Errorf("containers of the project: %v", got)
	}
}

// TestHeals: what people and bad luck do to containers and networks is repaired.
func TestHeals(t *testing.T) {
	a := newAgent(t, twoServices, "")
	a.start()
	a.converged()
	damages := []struct {
		name string
		do   func()
	}{
		{"removed", func() { docker(t, http.MethodDelete, "/containers/e2e-web-1?force=1", nil, nil) }},
		{"stopped", func() { docker(t, http.MethodPost, "/containers/e2e-web-1/stop?t=1", nil, nil) }},
		{"killed", func() { docker(t, http.MethodPost, "/containers/e2e-web-1/kill", nil, nil) }},
		{"paused", func() { docker(t, http.MethodPost, "/containers/e2e-web-1/pause", nil, nil) }},
		{"renamed", func() { docker(t, http.MethodPost, "/containers/e2e-web-1/rename?name=e2e-by-hand", nil, nil) }},
		{"limits edited", func() {
			docker(t, http.MethodPost, "/containers/e2e-web-1/update", map[string]any{"Memory": 64 << 20, "MemorySwap": 128 << 20, "RestartPolicy": map[string]any{"Name": "no"}}, nil)
		}},
		{"disconnected", func() {
			docker(t, http.MethodPost, "/networks/e2e_default/disconnect", map[string]any{"Container": "e2e-web-1", "Force": true}, nil)
		}},
		{"network removed", func() {
			for _, c := range []string{"e2e-web-1", "e2e-other-1"} {
				docker(t, http.MethodPost, "/networks/e2e_default/disconnect", map[string]any{"Container": c, "Force": true}, nil)
			}
			// The agent may be faster than the hand.
			_, _ = dockerCall(t.Context(), http.MethodDelete, "/networks/e2e_default", nil, nil)
		}},
	}
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			d.do()
			err := poll(t.Context(), 30*time.Second, func() bool { return whole(t, "e2e-web-1", "web") && whole(t, "e2e-other-1", "other") })
			if err != nil {
				t.Fatalf("not repaired: %+v\n%s", container(t, "e2e-web-1"), a.tail())
			}
			a.converged()
		})
	}
	if got := names(t, "e2e"); len(got) != 2 {
		t.Errorf("containers of the project: %v", got)
	}
}

// whole says that a container runs under its name, without foreign limits, on its network
// with its service alias.
func whole(t *testing.T, name, alias string) bool {
	c := container(t, name)
	if c == nil || c.State.Status != "running" || c.HostConfig.Memory != 0 || c.HostConfig.RestartPolicy.Name != "unless-stopped" {
		return false
	}
	for _, got := range c.NetworkSettings.Networks["e2e_default"].Aliases {
		if got == alias {
			return true
		}
	}
	return false
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
	if len(st.Stacks[0].Services) != 2 || len(names(t, "e2e")) != 2 {
		t.Errorf("containers of the project: %v", names(t, "e2e"))
	}
	before := mustContainer(t, "e2e-web-1")
	a.kill()
	a.start()
	a.converged()
	if got := mustContainer(t, "e2e-web-1"); got.ID != before.ID || got.State.StartedAt != before.State.StartedAt {
		t.Error("a restart of the agent touched a container")
	}
}

// TestHold: while a hold is on, damage stays; afterwards it is repaired.
func TestHold(t *testing.T) {
	a := newAgent(t, twoServices, "")
	a.start()
	a.converged()
	a.ctl(0, "hold", "app", "--for", "1h", "--why", "maintenance")
	docker(t, http.MethodDelete, "/containers/e2e-web-1?force=1", nil, nil)
	a.await("on hold", 10*time.Second, func(st api.NodeStatus) bool { return st.Stacks[0].Reason == api.ReasonOnHold })
	if container(t, "e2e-web-1") != nil {
		t.Error("the container was repaired although the stack is on hold")
	}
	a.ctl(0, "resume", "app")
	a.converged()
	mustContainer(t, "e2e-web-1")
}
