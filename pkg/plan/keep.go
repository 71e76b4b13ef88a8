package plan

import (
	"fmt"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// keep plans what a container of the wanted spec still lacks.
func (b *builder) keep(s *slot, gate gate) {
	c := s.keeper
	endpoints := b.repairEndpoints(s)
	switch c.State {
	case api.StateCreated, api.StateExited:
		if gate.problem != nil {
			s.problem, s.started, s.ready = gate.problem, blockedKey, blockedKey
			return
		}
		b.startNew(s, gate, launch{temporary: c.Name != s.rep.Name, needs: endpoints})
		b.explainExit(s)
		return
	case api.StatePaused:
		s.started = b.add(Op{
			Key: string(Unpause) + "/" + shortID(c.ID), Kind: Unpause, Object: c.Name, ID: c.ID,
			Service: s.svc.Name, Cause: "container is paused",
		})
		s.ready = s.started
		s.ops++
	case api.StateRestarting:
		s.started, s.ready = b.awaitRestart(s), b.awaitRestart(s)
		s.degraded = &problem{
			waiting: true, reason: api.ReasonCrashLoop,
			message: fmt.Sprintf("container ended with exit code %d and is being restarted by the engine (%d times so far); see its log", c.ExitCode, c.Restarts),
		}
	case api.StateRunning, api.StateRemoving, api.StateDead: // the last two never fit a spec
		b.keepRunning(s, append(gate.needs, endpoints...))
	}
	if len(endpoints) > 0 {
		s.ops++
	}
	var removed []string
	if b.startFirst(s) {
		removed = b.retireLast(s)
	} else {
		removed = b.retire(s, nil)
	}
	b.renameOp(s, launch{temporary: c.Name != s.rep.Name}, removed)
}

func (b *builder) awaitRestart(s *slot) string {
	cause := "the engine restarts it"
	if s.keeper.Facts.Dead {
		cause = "its process is gone, the engine has yet to say so"
	}
	return b.add(Op{
		Key: "await-restart/" + s.rep.Name, Kind: Probe, Object: s.rep.Name, Service: s.svc.Name, ID: s.keeper.ID,
		Cause: cause, Passive: true, Replica: s.rep, Wanted: s.svc,
	})
}

// keepRunning looks after a container that runs. needs are what it has to wait for, should
// it be stopped by this plan for the sake of a network or a dependency.
func (b *builder) keepRunning(s *slot, needs []string) {
	c := s.keeper
	if c.Facts.Dead {
		b.keepDead(s)
		return
	}
	if i, stopped := b.keys[string(Stop)+"/"+shortID(c.ID)]; stopped {
		b.startOp(s, append([]string{b.plan.Ops[i].Key}, needs...), "it is stopped before")
		return
	}
	if cause := b.staleNamespace(s); cause != "" {
		b.restartOp(s, cause, time.Time{})
		return
	}
	b.repairLimits(s)
	b.watchHealth(s)
	if c.Facts.HooksPending && len(s.svc.PostStart) > 0 {
		s.ops++
		b.add(Op{
			Key: string(Hook) + "/" + s.rep.Name, Kind: Hook, Object: s.rep.Name, ID: c.ID,
			Service: s.svc.Name, Cause: "post_start", Replica: s.rep, Wanted: s.svc,
		})
	}
}

// unnoticed is how long an engine may take to notice that a process is gone. One that has
// lost the shim and containerd with it calls the container running for ever.
const unnoticed = 30 * time.Second

// keepDead waits until the engine has noticed a death, then makes it notice: stopping
// what is gone ends with an engine that knows it.
func (b *builder) keepDead(s *slot) {
	lost := s.keeper.Facts.DeadSince.Add(unnoticed)
	if s.keeper.Facts.DeadSince.IsZero() || lost.After(b.in.Now) {
		b.wakeAt(lost)
		s.started, s.ready = b.awaitRestart(s), b.awaitRestart(s)
		return
	}
	b.restartOp(s, "its process is gone, which the engine has not noticed for "+unnoticed.String(), time.Time{})
	none := time.Duration(0)
	b.plan.Ops[b.keys[s.started]].Grace = &none // there is nobody left to be graceful to
}

// explainExit says in the status why a container that ran before does not run now.
func (b *builder) explainExit(s *slot) {
	c := s.keeper
	switch {
	case c.StartedAt.IsZero() && c.Error == "":
	case s.svc.Job && c.ExitCode != 0:
		s.degraded = &problem{
			waiting: true, reason: api.ReasonJobFailed,
			message: fmt.Sprintf("job ended with exit code %d; it is run again with a back-off; see its log", c.ExitCode),
		}
	case c.Error != "":
		s.degraded = &problem{
			waiting: true, reason: api.ReasonEngineFailed,
			message: fmt.Sprintf("the engine could not start it: %s", c.Error),
		}
	case c.Facts.Starts > 1 && c.FinishedAt.Sub(c.StartedAt) < stable:
		s.degraded = &problem{
			waiting: true, reason: api.ReasonCrashLoop,
			message: fmt.Sprintf("container ended with exit code %d after %s, %d starts so far; see its log",
				c.ExitCode, c.FinishedAt.Sub(c.StartedAt).Round(time.Millisecond), c.Facts.Starts),
		}
	}
}

// staleNamespace says that a container shares a namespace of an earlier run of another
// one: it would stay cut off although both run.
func (b *builder) staleNamespace(s *slot) string {
	for _, mode := range []string{s.rep.Spec.NetworkMode, s.rep.Spec.IpcMode, s.rep.Spec.PidMode} {
		name, ok := strings.CutPrefix(mode, "service:")
		if !ok {
			continue
		}
		p := b.parent(name)
		if p != nil && p.State == api.StateRunning && p.StartedAt.After(s.keeper.StartedAt) {
			return fmt.Sprintf("service %q started again; its namespace is a new one", name)
		}
	}
	return ""
}

func (b *builder) restartOp(s *slot, cause string, notBefore time.Time) {
	s.ops++
	s.started = b.add(Op{
		Key: string(Restart) + "/" + shortID(s.keeper.ID), Kind: Restart, Object: s.keeper.Name, ID: s.keeper.ID,
		Service: s.svc.Name, Cause: cause, NotBefore: zeroIfPast(notBefore, b.in.Now),
		Grace: s.rep.Spec.StopGrace, Replica: s.rep, Wanted: s.svc,
	})
	s.ready = s.started
}

// repairLimits brings limits and restart policy back that were changed by hand.
func (b *builder) repairLimits(s *slot) {
	c := s.keeper
	diff, tried := limitsDiff(s, c)
	if len(diff) == 0 || s.adopt || c.Facts.UpdateTried == tried {
		return // an engine that reads a limit back in another form is not asked for ever
	}
	s.ops++
	b.add(Op{
		Key: string(Update) + "/" + shortID(c.ID), Kind: Update, Object: c.Name, ID: c.ID, Service: s.svc.Name,
		Cause: "limits or restart policy were changed by hand", Replica: s.rep, Diff: diff, SpecHash: tried,
	})
}

// limitsDiff compares what can be changed in place; tried identifies the attempt to
// change it.
func limitsDiff(s *slot, c *api.Container) (diff []FieldDiff, tried string) {
	if diff = diffLimits(c.Spec, s.rep.Spec); len(diff) == 0 {
		return nil, ""
	}
	return diff, fmt.Sprint(s.rep.SpecHash, diff)
}

// stuckLimit says that a limit was set by hand which the desired state does not have, and
// that an update did not lift it: engines take zero for "unchanged".
func stuckLimit(s *slot, c *api.Container) bool {
	if c.Facts.UpdateTried == "" {
		return false
	}
	diff, tried := limitsDiff(s, c)
	if len(diff) == 0 || c.Facts.UpdateTried != tried {
		return false
	}
	have, want := c.Spec.Resources, s.rep.Spec.Resources
	for _, limit := range [][2]int64{
		{have.Memory, want.Memory},
		{have.MemoryReservation, want.MemoryReservation},
		{have.NanoCPUs, want.NanoCPUs},
		{have.CPUQuota, want.CPUQuota},
		{have.CPUShares, want.CPUShares},
	} {
		if limit[0] != 0 && limit[1] == 0 {
			return true
		}
	}
	return have.CpusetCpus != "" && want.CpusetCpus == ""
}

// watchHealth plans probes of what is not known to be healthy yet, and the restart of
// what is unhealthy by a check that the desired state itself declares.
func (b *builder) watchHealth(s *slot) {
	c := s.keeper
	switch health(s.svc, c) {
	case api.HealthStarting:
		s.ready = b.add(Op{
			Key: string(Probe) + "/" + shortID(c.ID), Kind: Probe, Object: s.rep.Name, Service: s.svc.Name, ID: c.ID,
			Cause: "has to become healthy", Replica: s.rep, Wanted: s.svc,
		})
		s.ops++
		b.restartOverdue(s)
	case api.HealthUnhealthy:
		b.unhealthy(s)
	case api.HealthNone:
		b.settle(s)
	case api.HealthHealthy:
	}
}

// restartOverdue treats what did not become healthy in time as unhealthy, and probes it on
// meanwhile. Of a healthcheck the engine itself says so.
func (b *builder) restartOverdue(s *slot) {
	deadline, known := b.healthDeadline(s)
	switch {
	case s.svc.Probe == nil || !known:
	case deadline.After(b.in.Now):
		b.wakeAt(deadline)
	default:
		b.unhealthy(s)
	}
}

func (b *builder) unhealthy(s *slot) {
	c := s.keeper
	text := c.HealthLog
	if s.svc.Probe != nil {
		text = c.Facts.ProbeMessage
	}
	if s.svc.Probe == nil && !s.svc.OwnHealthcheck {
		s.ready = blockedKey
		s.degraded = &problem{reason: api.ReasonHealthInherited, message: fmt.Sprintf(
			"the healthcheck that its image brings fails (%s); it is not restarted for that: declare a healthcheck in the Compose file (or disable: true), or a probe in stack.yaml", oneLine(text))}
		return
	}
	s.degraded = &problem{waiting: true, reason: api.ReasonUnhealthy, message: "unhealthy: " + oneLine(text)}
	if name := b.unhealthyDependency(s); name != "" {
		s.ready = blockedKey
		s.degraded.message += fmt.Sprintf("; not restarted, because service %q, which it depends on, is not healthy either", name)
		return
	}
	b.restartOp(s, "unhealthy: "+oneLine(text), restartNotBefore(c))
	b.plan.Ops[b.keys[s.started]].ForHealth = true
}

func (b *builder) unhealthyDependency(s *slot) string {
	for _, dep := range s.svc.DependsOn {
		for _, d := range b.services[dep.Service] {
			if !d.done && !d.serves(api.ServiceHealthy) {
				return dep.Service
			}
		}
	}
	return ""
}

// settle keeps a container that crashed lately from counting as converged at once.
func (b *builder) settle(s *slot) {
	c := s.keeper
	if c.Restarts == 0 && c.Facts.Starts == 0 {
		return
	}
	until := c.StartedAt.Add(settle)
	if !until.After(b.in.Now) {
		return
	}
	b.wakeAt(until)
	s.degraded = &problem{
		waiting: true, reason: api.ReasonProgressing,
		message: "restarted lately; counts as converged once it has run for " + settle.String(),
	}
}

// oneLine makes probe output fit a sentence.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	if s == "" {
		return "no output"
	}
	return s
}
