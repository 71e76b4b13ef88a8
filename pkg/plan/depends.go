package plan

import (
	"fmt"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// gate is what has to be true before a container may start.
type gate struct {
	needs   []string
	problem *problem
}

// gate collects what the dependencies of a slot still lack. Operations of this plan
// become needs; what no operation brings about is a problem of the slot.
func (b *builder) gate(s *slot) gate {
	var g gate
	for _, dep := range s.svc.DependsOn {
		slots := b.services[dep.Service]
		if len(slots) == 0 {
			continue // absent or scaled to zero; validation refused it where it is required
		}
		for _, d := range slots {
			key, prob := b.awaits(d, dep)
			switch {
			case prob == nil:
				g.needs = append(g.needs, key)
			case dep.Required && g.problem == nil:
				g.problem = prob
			}
		}
	}
	return g
}

// awaits returns the key to wait for, empty when the condition holds already.
func (b *builder) awaits(d *slot, dep api.Dependency) (string, *problem) {
	if d.problem != nil || d.undecided && d.started == blockedKey {
		if d.serves(dep.Condition) {
			return "", nil
		}
		return "", &problem{
			waiting: true, reason: api.ReasonDependency,
			message: fmt.Sprintf("waits for service %q, which can't go on: %s", dep.Service, problemText(d.problem)),
		}
	}
	switch dep.Condition {
	case api.ServiceCompleted:
		return b.awaitsCompletion(d)
	case api.ServiceHealthy:
		return d.ready, nil
	default:
		if d.done {
			return "", nil
		}
		return d.started, nil
	}
}

// serves says that a slot that can't be changed now has a container that runs all the
// same, if by an older spec, and fulfils the condition.
func (s *slot) serves(condition string) bool {
	for _, c := range s.found {
		switch {
		case condition == api.ServiceStarted && c.State == api.StateRunning:
			return true
		case condition == api.ServiceHealthy && healthy(s.svc, c):
			return true
		case condition == api.ServiceCompleted && endedWell(c):
			return true
		}
	}
	return false
}

func (b *builder) awaitsCompletion(d *slot) (string, *problem) {
	if d.done {
		return "", nil
	}
	c := d.keeper
	if c != nil && c.State == api.StateExited && c.ExitCode != 0 && !c.StartedAt.IsZero() && c.Facts.Starts >= jobAttempts {
		return "", &problem{
			waiting: true, reason: api.ReasonDependencyFailed,
			message: fmt.Sprintf("job %q ended with exit code %d; see its log", d.rep.Name, c.ExitCode),
		}
	}
	return b.add(Op{
		Key: string(AwaitExit) + "/" + d.rep.Name, Kind: AwaitExit, Object: d.rep.Name, Service: d.svc.Name,
		Cause: "others wait for it to end well", Needs: []string{d.started}, Passive: true,
	}), nil
}

// jobAttempts is how often a failing job was started again before its dependents say
// that it failed rather than that they wait.
const jobAttempts = 1

func problemText(p *problem) string {
	if p == nil {
		return "it is not known yet what it needs"
	}
	return p.message
}

// stopDependents stops services that asked for it (depends_on.restart) before what they
// depend on is replaced. They start again by themselves once it runs.
//
// They are stopped no earlier than it is: first has to happen before.
func (b *builder) stopDependents(s *slot, first []string) []string {
	if !slices.ContainsFunc(s.obsolete, isUp) {
		return nil
	}
	var needs []string
	for _, other := range b.slots {
		if !restartsWith(other.svc, s.svc.Name) {
			continue
		}
		for _, c := range other.found {
			if isUp(c) {
				needs = append(needs, b.stop(c, other.svc.Name, fmt.Sprintf("service %q is replaced (depends_on.restart)", s.svc.Name), first))
			}
		}
	}
	return needs
}

func restartsWith(svc *api.Service, name string) bool {
	for _, dep := range svc.DependsOn {
		if dep.Service == name && dep.Restart {
			return true
		}
	}
	return false
}

// updateNeeds keeps parallelism and delay of deploy.update_config (of a rollback, those of
// rollback_config): a replica is not replaced before the one that many places ahead of it
// was, is ready again, and has been so for the delay.
func (b *builder) updateNeeds(s *slot) []string {
	policy := b.policy(s.svc)
	if policy.Parallelism <= 0 || len(s.obsolete) == 0 {
		return nil
	}
	var changing []*slot
	for _, other := range b.services[s.svc.Name] {
		if other == s {
			break
		}
		if other.ready != "" || b.delayed(other, policy.Delay).After(b.in.Now) {
			changing = append(changing, other)
		}
	}
	if len(changing) < policy.Parallelism {
		return nil
	}
	ahead := changing[len(changing)-policy.Parallelism]
	if policy.Delay <= 0 || ahead.ready == blockedKey {
		return []string{ahead.ready}
	}
	return []string{b.add(Op{
		Key: string(AwaitDelay) + "/" + ahead.rep.Name, Kind: AwaitDelay, Object: ahead.rep.Name, Service: s.svc.Name,
		Cause:   fmt.Sprintf("%s pass between it and the next replica (delay of deploy)", policy.Delay),
		Needs:   []string{ahead.ready},
		Passive: true, NotBefore: b.delayed(ahead, policy.Delay),
	})}
}

// delayed is until when the next replica waits for one that was replaced and is ready.
func (b *builder) delayed(s *slot, delay time.Duration) time.Time {
	if delay <= 0 || s.keeper == nil || s.done || b.good != nil && !b.updated(s) {
		return time.Time{}
	}
	return healthySince(s.keeper).Add(delay)
}
