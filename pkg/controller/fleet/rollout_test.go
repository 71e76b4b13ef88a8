package fleet_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestOneNodeGetsItsSlice is the whole way once: a head is accepted, the node gets its slice,
// the fleet shows its status.
func TestOneNodeGetsItsSlice(t *testing.T) {
	l := newLab(t)
	revision := l.trees.write(t, "first", state(nil))
	a := &agenttest.Agent{Name: "a"}
	l.agent(a)
	l.accept(revision)
	l.await("a has the revision", func() bool { r, _ := a.Revision(); return r == revision })
	l.await("the fleet shows a's status", func() bool {
		got, err := l.fleet().GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{Nodes: []string{"a"}})
		must(t, err)
		n := got.GetNodes()[0]
		return n.GetConnected() && n.GetAccepted() && n.GetTarget() == revision && n.GetHostname() == "a.example" && len(n.GetStatus().GetStacks()) == 1
	})
}

// TestUnreachableNode is acceptance scenario 12.
func TestUnreachableNode(t *testing.T) {
	l := newLab(t)
	agents := map[string]*agenttest.Agent{}
	for _, name := range []string{"a", "b", "c"} {
		agents[name] = &agenttest.Agent{Name: name}
		l.agent(agents[name])
	}
	l.join("gpu")
	l.await("all are connected, and the other one is known", func() bool { return l.connected() == 3 && len(l.hub.News(0).Nodes) == 4 })
	revision := l.trees.write(t, "first", state(nil))
	l.accept(revision)
	r := l.ended(revision)
	if r.GetPhase() != "failed" || r.GetReason() != "Unreachable" {
		t.Errorf("gpu is away and the rollout is %s %s: %s", r.GetPhase(), r.GetReason(), r.GetMessage())
	}
	for name, a := range agents {
		if got, _ := a.Revision(); got != revision {
			t.Errorf("%s has %q", name, got)
		}
	}
	gpu := &agenttest.Agent{Name: "gpu"}
	l.agent(gpu)
	l.await("gpu gets it on return", func() bool { got, _ := gpu.Revision(); return got == revision })
}

// TestRollbackStopsTheRollout: later waves keep what they have.
func TestRollbackStopsTheRollout(t *testing.T) {
	l := newLab(t)
	var bad atomic.Value
	bad.Store("")
	agents := map[string]*agenttest.Agent{}
	for _, name := range []string{"a", "b", "c", "gpu"} {
		agents[name] = &agenttest.Agent{Name: name, Outcome: func(revision string) agenttest.Outcome {
			if revision == bad.Load() && name == "b" {
				return agenttest.RollsBack
			}
			return agenttest.Converges
		}}
		l.agent(agents[name])
	}
	l.await("all are connected", func() bool { return l.connected() == 4 })
	first := l.trees.write(t, "first", state(nil))
	l.accept(first)
	if r := l.ended(first); r.GetPhase() != "succeeded" {
		t.Fatalf("first is %s: %s", r.GetPhase(), r.GetMessage())
	}
	second := l.trees.write(t, "second", state(map[string]string{"stacks/workers/compose.yaml": "services:\n  web: {image: example:2}\n"}))
	bad.Store(second)
	l.accept(second)
	r := l.ended(second)
	if r.GetPhase() != "failed" || !strings.Contains(r.GetMessage(), "node b: workers: revision") || !strings.Contains(r.GetMessage(), "cannot bind") {
		t.Errorf("%s: %s", r.GetPhase(), r.GetMessage())
	}
	for name, want := range map[string]string{"a": first, "b": second, "c": first, "gpu": first} {
		if got, _ := agents[name].Revision(); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	if n, _ := agents["a"].Received(); n != 1 {
		t.Errorf("a got %d slices although the second revision does not touch it", n)
	}
}

// TestMissingImageStopsTheRollout is acceptance scenario 10 for a fleet: a tag that the registry
// does not have fails the rollout at once, and what ran runs on.
func TestMissingImageStopsTheRollout(t *testing.T) {
	l := newLab(t)
	var bad atomic.Value
	bad.Store("")
	agents := map[string]*agenttest.Agent{}
	for _, name := range []string{"a", "b", "c", "gpu"} {
		agents[name] = &agenttest.Agent{Name: name, Outcome: func(revision string) agenttest.Outcome {
			if revision == bad.Load() {
				return agenttest.LacksImage
			}
			return agenttest.Converges
		}}
		l.agent(agents[name])
	}
	l.await("all are connected", func() bool { return l.connected() == 4 })
	first := l.trees.write(t, "first", state(nil))
	l.accept(first)
	if r := l.ended(first); r.GetPhase() != "succeeded" {
		t.Fatalf("first is %s: %s", r.GetPhase(), r.GetMessage())
	}
	second := l.trees.write(t, "second", state(map[string]string{"stacks/workers/compose.yaml": "services:\n  web: {image: example:2}\n"}))
	bad.Store(second)
	l.accept(second)
	r := l.ended(second)
	if timeout := l.timeout(second); timeout < 5*patience {
		t.Errorf("it may have failed by the time limit of %s", timeout)
	}
	const want = "node b: workers: web: ImageMissing: pull image example:2: manifest unknown; fix: push the image"
	if r.GetPhase() != "failed" || r.GetReason() != "ImageMissing" || !strings.HasPrefix(r.GetMessage(), want) {
		t.Errorf("%s %s: %s", r.GetPhase(), r.GetReason(), r.GetMessage())
	}
	for name, want := range map[string]string{"b": second, "c": first, "gpu": first} {
		if got, _ := agents[name].Revision(); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	got, err := l.fleet().GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{Nodes: []string{"b"}})
	must(t, err)
	if web := got.GetNodes()[0].GetStatus().GetStacks()[0].GetServices()[0]; web.GetState() != "running" || web.GetRunningImage() != "example:1" {
		t.Errorf("what ran does not: %v", web)
	}
}

// timeout is how long a wave of a revision's rollout may take.
func (l *lab) timeout(revision string) time.Duration {
	e, _ := l.ledger.Of(revision)
	return e.Record.Timeout
}

// TestRegistryAway: a registry that does not answer is waited for.
func TestRegistryAway(t *testing.T) {
	l := newLab(t)
	var back atomic.Bool
	a := &agenttest.Agent{Name: "a", Outcome: func(string) agenttest.Outcome {
		if back.Load() {
			return agenttest.Converges
		}
		return agenttest.LacksRegistry
	}}
	l.agent(a)
	l.await("a is connected", func() bool { return l.connected() == 1 })
	revision := l.trees.write(t, "first", state(nil))
	l.accept(revision)
	l.await("the wave names what it waits for", func() bool {
		e, ok := l.ledger.Of(revision)
		return ok && e.Record.Waves[0].Nodes[0].Reason == "ImagePullFailed" && e.Record.Phase == "running"
	})
	back.Store(true)
	a.Say()
	l.await("the wave goes on", func() bool {
		e, _ := l.ledger.Of(revision)
		return e.Record.Waves[0].Phase == "succeeded"
	})
}
