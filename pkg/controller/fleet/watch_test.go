package fleet_test

import (
	"context"
	"testing"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestWatchFleet: the whole fleet first, then what changes, and in the end it is the same.
func TestWatchFleet(t *testing.T) {
	l := newLab(t)
	first := l.trees.write(t, "first", state(nil))
	l.accept(first)
	l.await("there is a head", func() bool { return l.ledger.Head().Revision == first })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := l.fleet().WatchFleet(ctx, &ktrdrv1.GetFleetRequest{})
	must(t, err)
	update, err := stream.Recv()
	must(t, err)
	if f := update.GetFleet(); len(f.GetNodes()) != 4 || f.GetName() != "lab" {
		t.Fatalf("the first message: %v", update)
	}
	nodes := map[string]*ktrdrv1.Node{}
	for _, n := range update.GetFleet().GetNodes() {
		nodes[n.GetName()] = n
	}
	head, rollout := update.GetFleet().GetHead(), update.GetFleet().GetRollout()
	together := func() {
		t.Helper()
		if head.GetRevision() == rollout.GetRevision() && head.GetOutcome() != rollout.GetPhase() {
			t.Errorf("the head's outcome is %q, its rollout is %q", head.GetOutcome(), rollout.GetPhase())
		}
		if head.GetRevision() != rollout.GetRevision() && head.GetOutcome() != "pending" {
			t.Errorf("the head's outcome is %q before its rollout", head.GetOutcome())
		}
	}
	together()
	until := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			update, err := stream.Recv()
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if update.GetFleet() != nil {
				t.Fatal("the whole fleet is sent again")
			}
			for _, n := range update.GetNodes() {
				nodes[n.GetName()] = n
			}
			if h := update.GetHead(); h != nil {
				head = h
			}
			if r := update.GetRollout(); r != nil {
				rollout = r
			}
			together()
		}
	}
	for _, name := range []string{"a", "b", "c", "gpu"} {
		l.agent(&agenttest.Agent{Name: name})
	}
	until("all nodes have the first", func() bool {
		for _, n := range nodes {
			if !n.GetConnected() || !n.GetAccepted() || n.GetTarget() != first || n.GetStatus() == nil {
				return false
			}
		}
		return true
	})
	second := l.trees.write(t, "second", state(map[string]string{"stacks/core/compose.yaml": "services:\n  web: {image: example:2}\n"}))
	l.accept(second)
	until("the second is rolled out", func() bool {
		return head.GetRevision() == second && head.GetOutcome() == "succeeded" && nodes["a"].GetTarget() == second && nodes["a"].GetAccepted()
	})
	for name, n := range nodes {
		if n.GetTarget() != second {
			t.Errorf("%s is to have %s: what does not change for it is the second too", name, n.GetTarget())
		}
	}
}
