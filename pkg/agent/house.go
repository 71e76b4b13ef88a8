package agent

import (
	"context"
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/telemetry"
)

// houseEvery is how often what nobody needs any more is dropped from memory and disk.
const houseEvery = 10 * time.Minute

// keepHouse drops adoptions of containers that are gone, records of jobs that are no
// longer wanted, and copies of repository files that nothing binds.
func (a *Agent) keepHouse(ctx context.Context) error {
	ticker := time.NewTicker(houseEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		a.tidy(ctx)
	}
}

func (a *Agent) tidy(ctx context.Context) {
	obs, d := a.cache.Snapshot(), a.desired.Load()
	if !obs.Complete || d == nil {
		return
	}
	if err := a.store.DropAdoptions(func(id string) bool { return obs.Containers[id] != nil }); err != nil {
		a.log.WarnContext(ctx, "old adoptions stay in memory", "err", err)
	}
	jobs := wantedJobs(d)
	if err := a.store.DropJobs(func(key string) bool { return jobs[key] }); err != nil {
		a.log.WarnContext(ctx, "old jobs stay in memory", "err", err)
	}
	images := wantedImages(a.withNeeded(d))
	if err := a.store.DropPulls(func(ref string) bool { return images[ref] }); err != nil {
		a.log.WarnContext(ctx, "old pulls stay in memory", "err", err)
	}
	if err := a.store.DropKept(func(key string) bool { return keeps(d, key) }); err != nil {
		a.log.WarnContext(ctx, "old kept secrets stay in memory", "err", err)
	}
	if err := a.store.DropGenerations(a.remembersGeneration(d)); err != nil {
		a.log.WarnContext(ctx, "old generations of secrets stay in memory", "err", err)
	}
	a.cache.DropKept(func(key string) bool { return keeps(d, key) })
	if err := a.files.Prune(boundFiles(obs, a.withNeeded(d))); err != nil {
		a.log.WarnContext(ctx, "old copies of repository files stay on disk", "err", err)
	}
}

// generationsFor is how long the generation of a reference that nobody uses is remembered:
// a stack that comes back counts on.
const generationsFor = 90 * 24 * time.Hour

func (a *Agent) remembersGeneration(d *api.Desired) func(ref string, newest api.SecretGeneration) bool {
	used := a.secretRefs(a.withNeeded(d))
	return func(ref string, newest api.SecretGeneration) bool {
		return slices.Contains(used, ref) || time.Since(newest.Since) < generationsFor
	}
}

func wantedJobs(d *api.Desired) map[string]bool {
	keys := map[string]bool{}
	for _, s := range d.Stacks {
		for _, svc := range s.Services {
			for _, r := range svc.Replicas {
				keys[api.JobKey(s.Project, svc.Name, r.Name)] = true
			}
		}
	}
	return keys
}

func wantedImages(d *api.Desired) map[string]bool {
	refs := map[string]bool{}
	for _, s := range d.Stacks {
		for _, svc := range s.Services {
			for _, r := range svc.Replicas {
				refs[r.Spec.Image] = true
			}
		}
	}
	return refs
}

// boundFiles are the digests that a container binds or the desired state wants.
func boundFiles(obs *api.Observed, d *api.Desired) map[string]bool {
	keep := map[string]bool{}
	for _, s := range d.Stacks {
		for _, svc := range s.Services {
			for _, r := range svc.Replicas {
				for _, m := range r.Spec.Mounts {
					if m.Repo != nil {
						keep[m.Repo.Digest] = true
					}
				}
			}
		}
	}
	for _, c := range obs.Containers {
		for _, m := range c.Spec.Mounts {
			for part := range strings.SplitSeq(m.Source, "/") {
				if len(part) == 64 {
					keep["sha256:"+part] = true
				}
			}
		}
	}
	return keep
}

// burst of work after which memory is given back, in bytes.
const burst = 16 << 20

func trim(ctx context.Context) error {
	telemetry.Trim(ctx, burst)
	return nil
}
