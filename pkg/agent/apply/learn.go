package apply

import (
	"context"
	"fmt"
	"strings"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// learn runs operations that find out or remember something.
func (x *Executor) learn(ctx context.Context, op plan.Op) error {
	//exhaustive:ignore // Apply hands over only these
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
		digest := plan.SecretDigest(op.Replica, x.cfg.Secrets.Digests())
		if err := x.cfg.Memory.SetAdoption(op.ID, op.SpecHash, digest); err != nil {
			return fmt.Errorf("remember adoption of %s: %w", op.Object, err)
		}
		x.cfg.Cache.SetFacts(op.ID, func(f *api.ContainerFacts) { f.SpecHash, f.SecretDigest = op.SpecHash, digest })
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

// compare finds out whether a container that may be adopted has the wanted files and
// secret values.
func (x *Executor) compare(ctx context.Context, op plan.Op) error {
	c := x.cfg.World.Snapshot().Containers[op.ID]
	if c == nil {
		return nil
	}
	digests := map[string]string{}
	for _, want := range op.Replica.Spec.Mounts {
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
	env, err := x.compareEnv(op.Replica, c)
	if err != nil {
		return err
	}
	x.cfg.Cache.SetFacts(op.ID, func(f *api.ContainerFacts) {
		f.Compared, f.BindDigests, f.SecretEnv = true, digests, env
	})
	return nil
}

func (x *Executor) compareEnv(r *api.Replica, c *api.Container) (map[string]bool, error) {
	have := map[string]string{}
	for _, kv := range c.Spec.Env {
		k, v, _ := strings.Cut(kv, "=")
		have[k] = v
	}
	same := map[string]bool{}
	for _, kv := range r.Spec.Env {
		if len(api.References(kv)) == 0 {
			continue
		}
		name, _, _ := strings.Cut(kv, "=")
		opened, err := x.expand(kv)
		if err != nil {
			return nil, err
		}
		_, want, _ := strings.Cut(opened, "=")
		value, ok := have[name]
		same[name] = ok && value == want
	}
	return same, nil
}
