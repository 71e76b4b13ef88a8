package fleet_test

import (
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/controller/agenttest"
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
	l.await("all are connected", func() bool { return len(l.hub.News(0).Nodes) == 5 })
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
