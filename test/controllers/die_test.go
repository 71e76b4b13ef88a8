package controllers_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestControllerDies kills the leader while the canary is at work.
func TestControllerDies(t *testing.T) {
	w := newWorld(t)
	first := w.forge.push("the first", state())
	w.c[0].start()
	w.c[1].start()
	var held atomic.Value
	held.Store("")
	w.fill(func(node, revision string) agenttest.Outcome {
		if node == "b" && revision == held.Load() {
			return agenttest.Hangs
		}
		return agenttest.Converges
	})
	w.settle(w.c[0])
	w.settle(w.c[1])

	// The second revision stops at the canary.
	files := tagged("v2")
	second := w.forge.push("the second", files)
	held.Store(second)
	await(t, "the canary has the second revision", func() bool { r, _ := w.agents["b"].Revision(); return r == second })
	var dead, alive *controller
	await(t, "somebody leads", func() bool {
		for i, c := range w.c {
			if c.leads() {
				dead, alive = c, w.c[1-i]
			}
		}
		return dead != nil
	})
	moving := w.at(dead)
	if len(moving) == 0 || len(moving) == len(w.agents) {
		t.Errorf("%d of %d agents are at the leader: they are not spread", len(moving), len(w.agents))
	}
	dead.kill()
	died := time.Now()
	await(t, "all agents are at the other controller", func() bool { return len(w.at(alive)) == len(w.agents) })
	back := time.Since(died)
	for name, a := range w.agents {
		if r, _ := a.Revision(); name != "a" && name != "b" && r != first {
			t.Errorf("node %s has %s before the canary is done", name, r)
		}
	}
	await(t, "the other controller leads", alive.leads)
	t.Logf("%d agents moved within %s; the other controller led after %s", len(moving), back.Round(time.Millisecond), time.Since(died).Round(time.Millisecond))
	held.Store("")
	w.agents["b"].Say()
	w.settle(alive)
	for name, a := range w.agents {
		if n, _ := a.Received(); n != 2 {
			t.Errorf("node %s got %d slices of two revisions", name, n)
		}
	}
	dead.start()
	made, err := w.fleet(dead).Deploy(t.Context(), &ktrdrv1.DeployRequest{Stack: "core", Services: []string{"backend"}, Tag: "v3"})
	must(t, err)
	w.settle(dead)
	if history := w.forge.history(); history[len(history)-1] != made.GetRevision() {
		t.Errorf("the commit of the controller that came back is not the last one: %s", history)
	}
	w.check()
}

// TestEtcdDies takes one member away, then a second one, and brings them back.
func TestEtcdDies(t *testing.T) {
	w := newWorld(t)
	w.forge.push("the first", state())
	w.c[0].start()
	w.c[1].start()
	w.fill(nil)
	w.settle(w.c[0])
	links := func() int {
		sum := 0
		for _, a := range w.agents {
			_, n := a.Received()
			sum += n
		}
		return sum
	}
	before := links()

	one := w.etcd.leader()
	w.etcd.members[one].kill()
	for i, c := range w.c {
		fleet := w.fleet(c)
		await(t, "changes go on without a member", func() bool {
			_, err := fleet.Scale(t.Context(), &ktrdrv1.ScaleRequest{Pool: "backtest", Node: "c", Count: int32(2 - i)})
			if err != nil && status.Code(err) != codes.Unavailable {
				t.Fatal(err)
			}
			return err == nil
		})
		w.settle(c)
	}
	two := w.etcd.leader()
	w.etcd.members[two].kill()
	died := time.Now()
	for _, c := range w.c {
		began := time.Now()
		_, err := w.fleet(c).Scale(t.Context(), &ktrdrv1.ScaleRequest{Pool: "backtest", Node: "d", Count: 3})
		if status.Code(err) != codes.Unavailable || !strings.Contains(status.Convert(err).Message(), "etcd") {
			t.Errorf("a change without a quorum: %v", err)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("a change without a quorum took %s", took)
		}
		if code, body := c.get("/readyz"); code == 200 {
			t.Errorf("ready without a quorum: %s", body)
		}
	}
	// Longer than the lease: what was registered is gone, and so is leadership.
	await(t, "nobody leads", func() bool { return !w.c[0].leads() && !w.c[1].leads() })
	for time.Since(died) < 3*lease {
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // the outage has to last
	}
	if n := links(); n != before {
		t.Errorf("agents connected %d times more during the outage", n-before)
	}
	w.etcd.members[two].start()
	back := time.Now()
	fleet := w.fleet(w.c[0])
	await(t, "changes work again", func() bool {
		_, err := fleet.Scale(t.Context(), &ktrdrv1.ScaleRequest{Pool: "backtest", Node: "d", Count: 3})
		if err != nil && status.Code(err) != codes.Unavailable {
			t.Fatal(err)
		}
		return err == nil
	})
	w.settle(w.c[0])
	w.settle(w.c[1])
	t.Logf("a change is everywhere %s after the quorum came back; agents connected %d times more", time.Since(back).Round(time.Millisecond), links()-before)
	w.check()
}
