package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// fails says why the update of a slot failed; an empty reason means that it did not, or
// that nothing can be said yet. Whatever waits (a mount, a secret, a registry, data that
// is protected) has not failed.
func (b *builder) fails(s *slot) (api.Reason, string) {
	if s.problem != nil || s.undecided {
		return "", ""
	}
	if reason, message := b.objectRefused(s); reason != "" {
		return reason, message
	}
	if s.keeper == nil {
		if s.done || b.phase != RolledBack && !b.updates(s) {
			return "", ""
		}
		return b.refused(createKey(s))
	}
	if !b.updated(s) || s.keeper.Facts.Unresponsive {
		return "", ""
	}
	for _, key := range []string{
		string(Start) + "/" + shortID(s.keeper.ID), string(CopyFiles) + "/" + s.rep.Name, string(Hook) + "/" + s.rep.Name,
	} {
		if reason, message := b.refused(key); reason != "" {
			return reason, message
		}
	}
	if reason, message := b.crashed(s); reason != "" {
		return reason, message
	}
	return b.sick(s)
}

// refused says that an operation failed for good, or again and again, and that this is
// the revision's doing and not that of an engine, disk or registry that is away.
func (b *builder) refused(key string) (api.Reason, string) {
	f, ok := b.failed(key)
	blamed := []api.Reason{api.ReasonEngineFailed, api.ReasonPortConflict, api.ReasonUnsupported, api.ReasonInvalid, api.ReasonHookFailed}
	if !ok || !slices.Contains(blamed, f.Reason) || f.Class != api.Terminal && f.Count < refusals {
		return "", ""
	}
	return f.Reason, f.Message
}

// objectRefused looks at networks and volumes that the update changes.
func (b *builder) objectRefused(s *slot) (api.Reason, string) {
	for _, ep := range s.rep.Spec.Endpoints {
		if st := b.networks[ep.Network]; st != nil && st.key != "" && b.phase != RolledBack && !b.goodNetwork(st.spec) {
			if reason, message := b.refused(st.key); reason != "" {
				return reason, message
			}
		}
	}
	for _, m := range s.rep.Spec.Mounts {
		if key := b.volumes[m.Source]; m.Type == api.MountVolume && key != "" && b.phase != RolledBack && b.updates(s) {
			if reason, message := b.refused(key); reason != "" {
				return reason, message
			}
		}
	}
	return "", ""
}

func (b *builder) goodNetwork(spec *api.NetworkSpec) bool {
	return b.good != nil && slices.ContainsFunc(b.good.Networks, func(n api.NetworkSpec) bool {
		return n.Name == spec.Name && n.Hash() == spec.Hash()
	})
}

// crashed says that a container ended by itself again and again, each time within its
// monitor time; a job that it failed once more after it was run again.
func (b *builder) crashed(s *slot) (api.Reason, string) {
	c := s.keeper
	ended := (c.State == api.StateExited || c.State == api.StateRestarting) && !c.StartedAt.IsZero() && !c.Facts.Interrupted
	if s.svc.Job && ended && c.ExitCode != 0 && c.Facts.Starts >= jobAttempts {
		return api.ReasonJobFailed, fmt.Sprintf("job %s ended with exit code %d", s.rep.Name, c.ExitCode)
	}
	ends, until := c.Restarts+c.Facts.Starts, b.in.Now
	if ended {
		ends, until = ends+1, c.FinishedAt
	}
	monitor := b.monitor(s)
	late := !c.Facts.HealthyAt.IsZero() && until.After(c.Facts.HealthyAt.Add(3*monitor+defaultStart))
	if s.svc.Job || ends < crashes || until.Sub(c.StartedAt) >= monitor || late || !ended && c.State != api.StateRunning {
		return "", ""
	}
	return api.ReasonCrashLoop, fmt.Sprintf("%s ended %d times, the last time with exit code %d", s.rep.Name, ends, c.ExitCode)
}

// sick says that a container became unhealthy within its monitor time, or did not become
// healthy in time, by a check that the desired state declares itself: one that only comes
// with the image says nothing about the revision.
func (b *builder) sick(s *slot) (api.Reason, string) {
	c := s.keeper
	if c.State != api.StateRunning || s.svc.Probe == nil && !s.svc.OwnHealthcheck {
		return "", ""
	}
	// Healthy for this start is known by the monitor's end; else by how long a start may take,
	// and how much later a check may tell.
	end := c.StartedAt.Add(b.startLimit(s) + b.monitor(s) + s.mayLag())
	if c.Facts.HealthyAt.After(c.StartedAt) {
		end = c.Facts.HealthyAt.Add(b.monitor(s))
	}
	// Exhaustive would list what needs no word.
	//exhaustive:ignore
	switch health(s.svc, c) {
	case api.HealthUnhealthy:
		text := c.HealthLog
		if s.svc.Probe != nil {
			text = c.Facts.ProbeMessage
		}
		if !b.in.Now.After(end) {
			return api.ReasonUnhealthy, fmt.Sprintf("%s is unhealthy: %s", s.rep.Name, oneLine(text))
		}
	case api.HealthStarting:
		if s.svc.Probe == nil {
			return "", "" // the engine will tell
		}
		deadline, known := b.healthDeadline(s)
		if !known {
			return "", "" // an agent that has just started has yet to probe it
		}
		if !b.in.Now.Before(deadline) && !b.in.Now.After(deadline.Add(b.monitor(s)+s.mayLag())) {
			return api.ReasonUnhealthy, fmt.Sprintf("%s did not become healthy within %s: %s", s.rep.Name, b.startLimit(s), oneLine(c.Facts.ProbeMessage))
		}
		b.wakeAt(deadline)
	}
	return "", ""
}

// check is the healthcheck that the slot's container has.
func (s *slot) check() api.Healthcheck {
	var image *api.Healthcheck
	if s.image != nil {
		image = s.image.Config.Healthcheck
	}
	if check := mergeHealthcheck(image, s.rep.Spec.Healthcheck); check != nil {
		return *check
	}
	return api.Healthcheck{}
}

// findsOut is how long the slot's check takes to tell that a container is unhealthy; zero
// when nothing checks. The defaults are the engine's.
func (s *slot) findsOut() time.Duration {
	if p := s.svc.Probe; p != nil {
		return time.Duration(max(1, p.Failures)) * p.Interval
	}
	if !s.gated() {
		return 0
	}
	check := s.check()
	interval, retries := cmp.Or(check.Interval, 30*time.Second), cmp.Or(check.Retries, 3)
	return time.Duration(retries) * interval
}

// mayLag is how much later than findsOut the slot's check may tell, where the machine is slow:
// each look may take its whole timeout.
func (s *slot) mayLag() time.Duration {
	if p := s.svc.Probe; p != nil {
		return min(time.Duration(max(1, p.Failures))*cmp.Or(p.Timeout, 30*time.Second), maxMonitor)
	}
	check := s.check()
	return min(time.Duration(cmp.Or(check.Retries, 3))*cmp.Or(check.Timeout, 30*time.Second), maxMonitor)
}

// monitor is how long after its health a failure of a container counts as one of the update.
func (b *builder) monitor(s *slot) time.Duration {
	if m := b.policy(s.svc).Monitor; m > 0 {
		return m
	}
	return min(max(defaultMonitor, s.findsOut()), maxMonitor)
}

// startLimit is how long a container may take to become healthy.
func (b *builder) startLimit(s *slot) time.Duration {
	limit := s.check().StartPeriod
	if s.svc.Probe != nil && limit == 0 {
		limit = defaultStart
	}
	return limit + s.findsOut()
}

// healthDeadline is until when a container has to be healthy by the stack's probe; unknown
// while nobody probes this run of it.
func (b *builder) healthDeadline(s *slot) (deadline time.Time, known bool) {
	since := s.keeper.Facts.ProbedSince
	return since.Add(b.startLimit(s)), !since.IsZero() && !since.Before(s.keeper.StartedAt)
}

// healthySince is since when a container is healthy, as far as that is known.
func healthySince(c *api.Container) time.Time {
	if c.Facts.HealthyAt.After(c.StartedAt) {
		return c.Facts.HealthyAt
	}
	return c.StartedAt
}

// monitored is until when a container that the update made is watched by the word of
// deploy.update_config.monitor, before the stack counts as converged.
func (b *builder) monitored(s *slot) (time.Time, bool) {
	explicit := b.policy(s.svc).Monitor
	if explicit <= 0 || s.keeper == nil || s.done || b.good != nil && !b.updated(s) {
		return time.Time{}, false
	}
	until := healthySince(s.keeper).Add(explicit)
	return until, until.After(b.in.Now)
}

// proven says that every container was read back as wanted and stayed so for its monitor
// time.
func (b *builder) proven() bool {
	if !b.plan.Status.Converged || b.plan.Held {
		return false
	}
	if slices.ContainsFunc(b.plan.Ops, func(op Op) bool { return !op.Background }) {
		return false
	}
	proven := true
	for _, s := range b.slots {
		if s.done || s.keeper == nil {
			continue
		}
		if until := healthySince(s.keeper).Add(b.monitor(s)); until.After(b.in.Now) {
			b.wakeAt(until)
			proven = false
		}
	}
	return proven
}
