package plan_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// proven runs a stack until it is remembered as the last known good.
func proven(t *rapid.T, m *model, stack *api.Stack) {
	for range 3 {
		if _, err := m.run(stack); err != nil {
			t.Fatal(err)
		}
		m.now = m.now.Add(time.Hour)
	}
	if r := m.obs.Rollouts[stack.Name]; r == nil || r.Good == nil || r.Failed != nil || r.Good.Stack().SumDigest() != stack.SumDigest() {
		t.Fatalf("is not known to be good: %+v\n%s", r, m.build(stack))
	}
}

// spoil makes a stack of which one service crashes: by its image, or because its tag stands
// for another image by now.
func spoil(t *rapid.T, m *model, good *api.Stack) (bad *api.Stack, ok bool) {
	bad = drawStack(t)
	if rapid.Bool().Draw(t, "tag moves") {
		bad = good
		svc := runs(good)
		if svc == nil {
			return nil, false
		}
		ref := svc.Replicas[0].Spec.Image
		m.moved[ref] = "sha256:moved"
		m.crashing["sha256:moved"] = true
		m.obs.Images[ref] = &api.Image{ID: "sha256:moved"}
		return bad, true
	}
	svc := runs(bad)
	if svc == nil {
		return nil, false
	}
	m.crashing["sha256:img:bad"] = true
	for i := range svc.Replicas {
		svc.Replicas[i].Spec.Image = "img:bad"
		svc.Replicas[i].SpecHash = svc.Replicas[i].Spec.Hash()
	}
	return bad, true
}

// runs finds the last service that is no job.
func runs(stack *api.Stack) *api.Service {
	for i := len(stack.Services) - 1; i >= 0; i-- {
		if !stack.Services[i].Job {
			return &stack.Services[i]
		}
	}
	return nil
}

// TestRollsBack: an update that fails ends with all that is known to be good, in an empty
// plan that is never called converged, and is not tried again for a revision that changes
// other stacks only; on the way no service lost both its old and its new container. The
// next good revision converges.
func TestRollsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		foreign := addForeign(m)
		good := drawStack(t)
		proven(t, m, good)
		bad, ok := spoil(t, m, good)
		if !ok {
			return
		}
		m.watch = func(p *plan.Plan) error {
			if f := m.obs.Rollouts["s"].Failed; f != nil && p.Status.Converged {
				return fmt.Errorf("a stack in quarantine is converged: %+v", p.Status)
			}
			return bothGone(m, good, bad)
		}
		p, err := m.run(bad)
		if err != nil {
			t.Fatal(err)
		}
		if p.Status.Reason != api.ReasonRolledBack || len(p.Ops) > 0 || p.Status.Converged {
			t.Fatalf("is not rolled back: %s %s\n%s", p.Status.Reason, p.Status.Message, p)
		}
		checkRunning(t, m, good)
		checkImages(t, m, good)
		for _, id := range foreign {
			if c := m.obs.Containers[id]; c == nil || c.State != api.StateRunning {
				t.Fatalf("foreign container %s was touched", id)
			}
		}
		again := plan.Build(plan.Input{
			Node: "a", Revision: "r-of-another-stack", Stack: bad, Observed: m.obs, Now: m.now.Add(24 * time.Hour),
			Secrets: map[string]string{"op://v/i/f": "v1:digest"},
		})
		if len(again.Ops) > 0 {
			t.Fatalf("a revision that changes other stacks lifts the quarantine:\n%s", again)
		}
		m.watch = nil
		clear(m.crashing)
		next := drawStack(t)
		if next.SumDigest() != bad.SumDigest() {
			proven(t, m, next)
			checkRunning(t, m, next)
		}
	})
}

// bothGone: each container of both stacks exists, by the old definition or by the new one.
func bothGone(m *model, good, bad *api.Stack) error {
	for _, svc := range good.Services {
		for _, r := range svc.Replicas {
			other := bad.Service(svc.Name)
			if svc.Job || other == nil || other.Job || len(other.Replicas) < r.Number {
				continue
			}
			found := false
			for _, c := range m.obs.Containers {
				found = found || c.Labels[api.LabelStack] == "s" && c.Labels[api.LabelService] == svc.Name && c.Labels[api.LabelNumber] == fmt.Sprint(r.Number)
			}
			if !found {
				return fmt.Errorf("neither an old nor a new container of %s exists", r.Name)
			}
		}
	}
	return nil
}

// checkImages: what runs are the images that ran, whatever their tags mean by now.
func checkImages(t *rapid.T, m *model, stack *api.Stack) {
	for _, c := range m.obs.Containers {
		pin, ok := m.obs.Rollouts[stack.Name].Good.Images[c.Name]
		if c.Labels[api.LabelStack] == stack.Name && ok && c.ImageID != pin.ID {
			t.Fatalf("container %s runs image %s, not %s", c.Name, c.ImageID, pin.ID)
		}
	}
}

// TestHeldUpdateDecidesNothing: on hold, nothing is put in quarantine.
func TestHeldUpdateDecidesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		good := drawStack(t)
		proven(t, m, good)
		bad, ok := spoil(t, m, good)
		if !ok {
			return
		}
		steps := rapid.IntRange(0, 40).Draw(t, "steps")
		for range steps {
			ready := m.build(bad).Ready(m.now)
			if len(ready) == 0 || ready[0].Kind == plan.QuarantineRevision {
				break
			}
			m.now = m.now.Add(time.Second)
			if err := m.apply(bad, ready[0]); err != nil {
				t.Fatal(err)
			}
		}
		m.obs.Holds["s"] = api.Hold{Why: "maintenance"}
		if p := m.build(bad); !p.Held || len(p.Ready(m.now)) > 0 || p.Status.Reason == api.ReasonRolledBack {
			t.Fatalf("decides on hold: %s\n%s", p.Status.Reason, p)
		}
	})
}
