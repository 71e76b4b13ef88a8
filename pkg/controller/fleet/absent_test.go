package fleet_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	"ktrdr.io/fleet/pkg/controller/store"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestNodeWithoutFile: a node that is in no revision is told which file is missing, takes no part
// in rollouts, and gets its slice as soon as the file is there.
func TestNodeWithoutFile(t *testing.T) {
	l := newLab(t)
	for _, name := range []string{"a", "b", "c", "gpu"} {
		l.agent(&agenttest.Agent{Name: name})
	}
	d := &agenttest.Agent{Name: "d"}
	l.agent(d)
	l.await("all are connected", func() bool { return l.connected() == 5 })
	if d.Absent() != nil {
		t.Errorf("before the first revision: %v", d.Absent())
	}
	first := l.trees.write(t, "first", state(nil))
	l.accept(first)
	if r := l.ended(first); r.GetPhase() != "succeeded" {
		t.Errorf("the rollout is %s: %s", r.GetPhase(), r.GetMessage())
	}
	l.await("d is told", func() bool {
		why := d.Absent()
		return why.GetReason() == "NotDesired" && why.GetRevision() == first && strings.Contains(why.GetMessage(), "nodes/d.yaml at revision "+first[:12])
	})
	// It is in the last wave, and the one before does not end.
	node := "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: d}\nspec:\n  hostname: d.example\n  stacks: [{name: workers}]\n"
	hung := &agenttest.Agent{Name: "e", Outcome: func(string) agenttest.Outcome { return agenttest.Hangs }}
	l.agent(hung)
	l.await("it is connected", func() bool { return l.connected() == 6 }) // else the wave goes on without it
	more := state(map[string]string{"nodes/d.yaml": node, "nodes/e.yaml": strings.NewReplacer("name: d}", "name: e}", "d.example", "e.example").Replace(node)})
	more["fleet.yaml"] = strings.Replace(more["fleet.yaml"], "nodes: [b]", "nodes: [b, e]", 1)
	second := l.trees.write(t, "second", more)
	l.accept(second)
	l.await("d is told to wait for its wave", func() bool {
		why := d.Absent()
		return why.GetReason() == "RolloutPending" && why.GetRevision() == second && strings.Contains(why.GetMessage(), "with its wave")
	})
	third := l.trees.write(t, "third", state(map[string]string{"nodes/d.yaml": node}))
	l.accept(third)
	l.await("d has its slice", func() bool { r, _ := d.Revision(); return r == third })
}

// join writes the record of a node that has joined.
func (l *lab) join(name string) {
	l.t.Helper()
	must(l.t, l.store.Nodes().Create(l.t.Context(), store.Node{Name: name, JoinedAt: time.Now()}))
}

// TestNotJoined: a node of the repository that nobody has joined as fails no rollout of others.
func TestNotJoined(t *testing.T) {
	l := newLab(t)
	for _, name := range []string{"a", "b", "c"} {
		l.agent(&agenttest.Agent{Name: name})
	}
	l.await("all are connected", func() bool { return l.connected() == 3 })
	// The controller is no longer new: whom the store does not know does not exist.
	l.await("the grace is over", func() bool { return time.Since(l.hub.Started()) > time.Second })
	revision := l.trees.write(t, "first", state(nil))
	l.accept(revision)
	if r := l.ended(revision); r.GetPhase() != "succeeded" || r.GetReason() != "NotJoined" || !strings.Contains(r.GetMessage(), "when they do: gpu") {
		t.Errorf("%s %s: %s", r.GetPhase(), r.GetReason(), r.GetMessage())
	}
	gpu := &agenttest.Agent{Name: "gpu"}
	l.join("gpu")
	l.agent(gpu)
	l.await("gpu gets it when it joins", func() bool { got, _ := gpu.Revision(); return got == revision })
}

// TestCordonedNode: it keeps what it has, the rollout succeeds and names it.
func TestCordonedNode(t *testing.T) {
	l := newLab(t)
	agents := map[string]*agenttest.Agent{}
	for _, name := range []string{"a", "b", "c", "gpu"} {
		l.join(name)
		agents[name] = &agenttest.Agent{Name: name}
		l.agent(agents[name])
	}
	l.await("all are connected", func() bool { return l.connected() == 4 })
	first := l.trees.write(t, "first", state(nil))
	l.accept(first)
	l.ended(first)
	cordon := func(c *store.Cordon) {
		_, err := l.store.Nodes().Update(t.Context(), "b", func(n *store.Node) error { n.Cordoned = c; return nil })
		must(t, err)
		l.await("the cordon is known", func() bool { n, _ := l.hub.Node("b"); return (n.Joined.Cordoned != nil) == (c != nil) })
	}
	cordon(&store.Cordon{By: "operator/karl", At: time.Now()})
	second := l.trees.write(t, "second", state(map[string]string{"stacks/workers/compose.yaml": "services:\n  web: {image: example:2}\n"}))
	l.accept(second)
	if r := l.ended(second); r.GetPhase() != "succeeded" || r.GetReason() != "" || !strings.Contains(r.GetMessage(), "left out: b") {
		t.Errorf("%s %s: %s", r.GetPhase(), r.GetReason(), r.GetMessage())
	}
	for name, want := range map[string]string{"b": first, "c": second, "gpu": second} {
		if got, _ := agents[name].Revision(); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	cordon(nil)
	l.await("b follows", func() bool { got, _ := agents["b"].Revision(); return got == second })
}

// TestRemovedWhileAway: a node that is taken out of the repository while it is away fails
// nothing, keeps what it has when it is back, and is told of by name.
func TestRemovedWhileAway(t *testing.T) {
	l := newLab(t)
	var stop func()
	gpu := &agenttest.Agent{Name: "gpu"}
	for _, name := range []string{"a", "b", "c", "gpu"} {
		l.join(name)
		if name == "gpu" {
			stop = l.agent(gpu)
			continue
		}
		l.agent(&agenttest.Agent{Name: name})
	}
	l.await("all are connected", func() bool { return l.connected() == 4 })
	first := l.trees.write(t, "first", state(nil))
	l.accept(first)
	l.ended(first)
	stop()
	l.await("gpu is away", func() bool { n, _ := l.hub.Node("gpu"); return !n.Connected })
	without := state(map[string]string{"stacks/workers/compose.yaml": "services:\n  web: {image: example:2}\n"})
	maps.DeleteFunc(without, func(path, _ string) bool { return path == "nodes/gpu.yaml" })
	second := l.trees.write(t, "second", without)
	l.accept(second)
	if r := l.ended(second); r.GetPhase() != "succeeded" || r.GetReason() != "" {
		t.Errorf("%s %s: %s", r.GetPhase(), r.GetReason(), r.GetMessage())
	}
	before, _ := gpu.Received()
	l.agent(gpu)
	l.await("gpu is back, and known as one that is not wanted", func() bool {
		got, err := l.fleet().GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{Nodes: []string{"gpu"}})
		must(t, err)
		n := got.GetNodes()[0]
		return n.GetConnected() && n.GetJoined() && !n.GetDesired() && n.GetTarget() == ""
	})
	third := l.trees.write(t, "third", state(map[string]string{"stacks/workers/compose.yaml": "services:\n  web: {image: example:3}\n"}))
	if r, _ := gpu.Revision(); r != first {
		t.Errorf("gpu has %s", r)
	}
	if n, _ := gpu.Received(); n != before {
		t.Errorf("gpu got %d slices when it came back", n-before)
	}
	l.accept(third)
	l.await("gpu is wanted again", func() bool { got, _ := gpu.Revision(); return got == third })
}
