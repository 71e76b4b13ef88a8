package reconcile

import (
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// adoptDesired replaces the targets. Stacks that are no longer wanted stay with an empty
// target until nothing of them is left. What failed is tried at once: the new state may be
// what mends it, a login of a registry for one.
func (l *Loop) adoptDesired(d *api.Desired) {
	if d == nil {
		return
	}
	for key, f := range l.cfg.World.Snapshot().Failures {
		if f.Revision != d.Revision {
			l.cfg.World.SetFailure(key, nil)
		}
	}
	wanted := map[string]bool{}
	for i := range d.Stacks {
		s := &d.Stacks[i]
		wanted[s.Name] = true
		st := l.stacks[s.Name]
		if st == nil {
			st = &stackState{repeats: map[string]int{}}
			l.stacks[s.Name] = st
		}
		st.target, st.dirty = plan.Target{Desired: d, Stack: s}, true
		clear(st.repeats)
	}
	for name, st := range l.stacks {
		if !wanted[name] {
			st.target = plan.Target{Desired: d, Stack: emptied(st.target.Stack)}
			st.dirty = true
		}
	}
	l.addOrphans()
}

// addOrphans finds stacks that only exist on the engine: removed from the desired state
// while the agent was down.
func (l *Loop) addOrphans() {
	var desired *api.Desired
	for _, st := range l.stacks {
		desired = st.target.Desired
	}
	obs := l.cfg.World.Snapshot()
	if desired == nil || !obs.Complete {
		return
	}
	for _, c := range obs.Containers {
		l.addOrphan(desired, c.Labels)
	}
	for _, n := range obs.Networks {
		l.addOrphan(desired, n.Labels)
	}
}

func (l *Loop) addOrphan(desired *api.Desired, labels map[string]string) {
	name, node := labels[api.LabelStack], labels[api.LabelNode]
	if name == "" || node != desired.Node || l.stacks[name] != nil {
		return
	}
	l.stacks[name] = &stackState{
		target:  plan.Target{Desired: desired, Stack: &api.Stack{Name: name, Project: labels[api.LabelProject]}},
		dirty:   true,
		repeats: map[string]int{},
	}
}

func emptied(s *api.Stack) *api.Stack {
	return &api.Stack{Name: s.Name, Project: s.Project, AdoptFrom: s.AdoptFrom, WorkingDir: s.WorkingDir}
}
