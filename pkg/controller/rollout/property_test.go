package rollout_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/rollout"
)

// anyNode draws whatever may be known of a node.
func anyNode(t *rapid.T, name string) rollout.Node {
	n := rollout.Node{
		Connected: rapid.Bool().Draw(t, "connected"), Cordoned: rapid.IntRange(0, 5).Draw(t, "cordoned") == 0,
		AwaySince: t0.Add(-time.Duration(rapid.IntRange(0, 60).Draw(t, "away")) * time.Second),
	}
	n.Digest = rapid.SampledFrom([]string{"sha256:r1" + name, "sha256:r2" + name}).Draw(t, "digest")
	switch rapid.IntRange(0, 5).Draw(t, "status") {
	case 0:
	case 1:
		n = with(n, stack(rolledBack))
	case 2:
		n = with(n, stack(func(s *api.StackStatus) { s.Converged = false }))
	default:
		n = with(n, stack(nil))
	}
	return n
}

func with(n rollout.Node, s api.StackStatus) rollout.Node {
	n.StatusDigest, n.Status = n.Digest, &api.NodeStatus{Ready: true, Stacks: []api.StackStatus{s}}
	return n
}

// TestProperties holds for every sequence of news.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := *begin(rollout.Order{})
		now := t0
		for range rapid.IntRange(1, 12).Draw(t, "rounds") {
			now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "seconds")) * time.Second)
			nodes := map[string]rollout.Node{}
			for _, name := range []string{"a", "b", "c", "d"} {
				if rapid.IntRange(0, 9).Draw(t, "known") > 0 {
					nodes[name] = anyNode(t, name)
				}
			}
			before := r
			next, steps := rollout.Next(&r, nodes, now)
			if diff := cmp.Diff(before, r); diff != "" {
				t.Fatalf("Next changes its input:\n%s", diff)
			}
			checkRecord(t, &r, &next, nodes)
			if again, more := rollout.Next(&next, nodes, now); len(more) > 0 || !cmp.Equal(again, next) {
				t.Fatalf("a second look without news changes something:\n%s\nafter\n%s", told(more), told(steps))
			}
			r = next
		}
	})
}

func checkRecord(t *rapid.T, before, r *rollout.Record, nodes map[string]rollout.Node) {
	over := true
	for _, w := range r.Waves {
		for _, p := range w.Nodes {
			has := r.Targets[p.Node].Revision == "r2"
			gets := has && before.Targets[p.Node].Revision != "r2"
			switch {
			case gets && !over:
				t.Fatalf("%s has the revision before the waves before are over", p.Node)
			case gets && nodes[p.Node].Cordoned:
				t.Fatalf("%s is cordoned and gets the revision", p.Node)
			case gets && before.Phase == rollout.Failed && before.Reason != rollout.ReasonUnreachable:
				t.Fatalf("%s gets the revision after the rollout was stopped", p.Node)
			case !has && before.Targets[p.Node].Revision == "r2":
				t.Fatalf("%s loses the revision", p.Node)
			case r.Phase == rollout.Succeeded && before.Phase == rollout.Running && p.Phase != rollout.Converged && p.Reason != rollout.ReasonCordoned:
				t.Fatalf("a success with %s %s", p.Node, p.Phase)
			case p.Phase == rollout.Failed && r.Phase != rollout.Failed:
				t.Fatalf("%s with %s failed", r.Phase, p.Node)
			}
		}
		over = over && w.Phase == rollout.Succeeded
	}
}
