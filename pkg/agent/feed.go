package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/api"
)

// mountFeed probes required mounts and publishes what it finds.
type mountFeed struct {
	probe   func(ctx context.Context, m api.RequiredMount) api.MountState
	publish func(path string, st api.MountState)
	wanted  func() []api.RequiredMount
	bell    chan struct{}
}

// Pace of mount probes: a mount that is there is looked at seldom, one that is missing often,
// because services wait for it.
const (
	mountGood = 15 * time.Second
	mountBad  = 2 * time.Second
)

func (f *mountFeed) run(ctx context.Context) error {
	for {
		wait := f.once(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-f.bell:
		case <-time.After(wait):
		}
	}
}

// once probes all mounts side by side, so that a hung one does not delay the others.
func (f *mountFeed) once(ctx context.Context) time.Duration {
	wait := mountGood
	mounts := f.wanted()
	states := make([]api.MountState, len(mounts))
	var g errgroup.Group
	for i, m := range mounts {
		g.Go(func() error {
			states[i] = f.probe(ctx, m)
			f.publish(m.Path, states[i])
			return nil
		})
	}
	_ = g.Wait()
	for _, st := range states {
		if !st.OK {
			wait = mountBad
		}
	}
	return wait
}

// requiredMounts are those of all stacks, by path. A stack that the policy denies has none:
// probing writes to them.
func (a *Agent) requiredMounts(stacks []*api.Stack) []api.RequiredMount {
	var all []api.RequiredMount
	for _, s := range stacks {
		if len(s.Mounts) > 0 && len(a.gate.Denied(s)) > 0 {
			continue
		}
		for _, m := range s.Mounts {
			if !slices.ContainsFunc(all, func(o api.RequiredMount) bool { return o.Path == m.Path }) {
				all = append(all, m)
			}
		}
	}
	return all
}

// secretRefs are the distinct references of a desired state that the node's policy lets
// go to a provider, sorted.
func (a *Agent) secretRefs(d *api.Desired) []string {
	return slices.DeleteFunc(secretRefs(d, a.gate.AllowsRegistry), func(ref string) bool { return !a.gate.AllowsReference(ref) })
}

// secretRefs are the distinct references of a desired state, with the logins of the
// registries that are allowed, sorted.
func secretRefs(d *api.Desired, registry func(host string) bool) []string {
	if d == nil {
		return nil
	}
	var refs []string
	for _, s := range d.Stacks {
		for _, svc := range s.Services {
			for _, r := range svc.Replicas {
				refs = append(refs, r.SecretRefs...)
			}
			refs = append(refs, hookRefs(svc.PostStart)...)
			refs = append(refs, hookRefs(svc.PreStop)...)
		}
	}
	for _, r := range d.Registries {
		if !registry(r.Host) {
			continue
		}
		refs = append(refs, api.References(r.Username)...)
		refs = append(refs, api.References(r.Password)...)
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

// hookRefs are the references in the commands and environments of hooks.
func hookRefs(hooks []api.Hook) []string {
	var refs []string
	for _, h := range hooks {
		for _, text := range slices.Concat(h.Command, h.Env) {
			refs = append(refs, api.References(text)...)
		}
	}
	return refs
}

// secretFeed keeps the values of all references at hand.
type secretFeed struct {
	refresh func(ctx context.Context, refs []string) error
	wanted  func() []string
	digests func() map[string]string
	// changed is called when a value changed, appeared or went away.
	changed func()
	every   time.Duration
	bell    chan struct{}
	// looked gets the result of each look.
	looked func(refs []string, err error)
}

func (f *secretFeed) run(ctx context.Context) error {
	for {
		wait := jittered(f.every)
		if refs := f.wanted(); len(refs) > 0 {
			before := f.digests()
			err := f.refresh(ctx, refs)
			f.looked(refs, err)
			if err != nil && ctx.Err() == nil {
				wait = min(wait, 5*time.Second)
			}
			if !maps.Equal(before, f.digests()) {
				f.changed()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.bell:
		case <-time.After(wait):
		}
	}
}

// ring puts a value into a one-slot channel.
func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
