package agent

import (
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// inForce are the stacks that containers follow now: those of the accepted state, with the
// last known good in the place of each whose update was rolled back.
func (a *Agent) inForce() []*api.Stack {
	d := a.desired.Load()
	if d == nil {
		return nil
	}
	obs := a.cache.Snapshot()
	var stacks []*api.Stack
	for i := range d.Stacks {
		if back := plan.InForce(&d.Stacks[i], obs); back != nil {
			stacks = append(stacks, &back.Stacks[0])
			continue
		}
		stacks = append(stacks, &d.Stacks[i])
	}
	return stacks
}

// needed are the stacks of d, and beside them the last known good of each where that is
// another one: what a rollback needs is kept at hand.
func (a *Agent) needed(d *api.Desired) []*api.Stack {
	if d == nil {
		return nil
	}
	rollouts := a.cache.Snapshot().Rollouts
	var stacks []*api.Stack
	for i := range d.Stacks {
		s := &d.Stacks[i]
		stacks = append(stacks, s)
		if r := rollouts[s.Name]; r != nil && r.Good.Stack() != nil && r.Good.Stack().Digest != s.Digest {
			stacks = append(stacks, r.Good.Stack())
		}
	}
	return stacks
}

// withNeeded is d with all stacks that are needed.
func (a *Agent) withNeeded(d *api.Desired) *api.Desired {
	if d == nil {
		return nil
	}
	out := *d
	out.Stacks = nil
	for _, s := range a.needed(d) {
		out.Stacks = append(out.Stacks, *s)
	}
	return &out
}

// forgetRollouts drops what is remembered of stacks that are no longer wanted.
func (a *Agent) forgetRollouts(d *api.Desired) {
	for name := range a.cache.Snapshot().Rollouts {
		if slices.ContainsFunc(d.Stacks, func(s api.Stack) bool { return s.Name == name }) {
			continue
		}
		if err := a.store.SetRollout(name, nil); err != nil {
			a.log.Warn("the rollout of a removed stack stays in memory", "stack", name, "err", err)
		}
		a.cache.SetRollout(name, nil)
	}
}

// liftQuarantine lets an update that failed be tried again, with what the registry has now.
func (a *Agent) liftQuarantine(stack string) error {
	obs := a.cache.Snapshot()
	r := obs.Rollouts[stack]
	if r == nil || r.Failed == nil {
		return nil
	}
	for ref := range r.Failed.Images {
		if img := obs.Images[ref]; img != nil {
			again := *img
			again.PulledFor, again.PulledAt = "", time.Unix(1, 0)
			a.cache.SetImage(ref, &again)
		}
	}
	lifted := &api.Rollout{Good: r.Good}
	err := a.store.SetRollout(stack, lifted)
	a.cache.SetRollout(stack, lifted)
	return err
}
