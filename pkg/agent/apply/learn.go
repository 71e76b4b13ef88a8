package apply

import (
	"cmp"
	"context"
	"fmt"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// learn runs operations that find out or remember something.
func (x *Executor) learn(ctx context.Context, op plan.Op, t plan.Target) error {
	// Apply hands over only these.
	//exhaustive:ignore
	switch op.Kind {
	case plan.Measure:
		size, err := x.cfg.Engine.MeasureContainer(ctx, op.ID)
		if err != nil {
			return err
		}
		x.cfg.Cache.SetFacts(op.ID, func(f *api.ContainerFacts) { f.WritableBytes = size })
	case plan.Compare:
		return x.compare(ctx, op)
	case plan.Adopt:
		digest := plan.SecretDigest(op.Wanted, op.Replica, op.Secrets)
		return x.adopt(op, op.SpecHash, digest)
	case plan.LearnKept:
		return x.learnKept(op, t)
	case plan.RecordJob:
		if err := x.cfg.Memory.SetJob(op.ID, op.SpecHash); err != nil {
			return fmt.Errorf("remember job %s: %w", op.Object, err)
		}
		x.cfg.World.SetJob(op.ID, op.SpecHash)
	default:
		return fmt.Errorf("operation %q learns nothing", op.Kind)
	}
	return nil
}

// compare finds out whether a container that may be taken over has the wanted files and
// secret values. What it publishes are paths and digests, never values.
func (x *Executor) compare(ctx context.Context, op plan.Op) error {
	obs := x.cfg.World.Snapshot()
	c := obs.Containers[op.ID]
	if c == nil {
		return nil
	}
	opened, err := x.opened(op).spec(op.Replica.Spec)
	if err != nil {
		return err
	}
	var differs []string
	for _, d := range plan.Diff(c.Spec, plan.Effective(opened, obs.Images[cmp.Or(op.Image, op.Replica.Spec.Image)])) {
		differs = append(differs, d.Path)
	}
	digests := bindDigests(ctx, op.Replica, c)
	x.cfg.Cache.SetFacts(op.ID, func(f *api.ContainerFacts) {
		f.ComparedFor, f.BindDigests, f.OpenedDiff = op.SpecHash, digests, differs
	})
	return nil
}

// bindDigests are the content digests of the host paths that a container has where the
// replica wants files of the repository. What can't be read has none, and so differs.
func bindDigests(ctx context.Context, r *api.Replica, c *api.Container) map[string]string {
	digests := map[string]string{}
	for _, want := range r.Spec.Mounts {
		if want.Repo == nil {
			continue
		}
		for _, have := range c.Spec.Mounts {
			if have.Target != want.Target || have.Type != api.MountBind {
				continue
			}
			if digest, err := hostDigest(ctx, have.Source); err == nil {
				digests[want.Target] = digest
			}
		}
	}
	return digests
}
