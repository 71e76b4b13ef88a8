package agent

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/api"
)

// probeTick is how often it is looked at which services are due for a probe.
const probeTick = time.Second

// probeState is the memory of one container's probe.
type probeState struct {
	last     time.Time
	failures int
}

// probeServices runs the stacks' own probes of containers that were healthy once; before
// that, apply probes them as part of the plan.
func (a *Agent) probeServices(ctx context.Context) error {
	states := map[string]*probeState{}
	ticker := time.NewTicker(probeTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		a.probeDue(ctx, states)
	}
}

// due is a container whose probe has to be run.
type due struct {
	container *api.Container
	probe     *api.Probe
	state     *probeState
}

func (a *Agent) probeDue(ctx context.Context, states map[string]*probeState) {
	list := a.dueProbes(states, time.Now())
	var g errgroup.Group
	g.SetLimit(16)
	for _, d := range list {
		g.Go(func() error {
			a.probeOne(ctx, d)
			return nil
		})
	}
	_ = g.Wait()
}

func (a *Agent) dueProbes(states map[string]*probeState, now time.Time) []due {
	obs := a.cache.Snapshot()
	seen := map[string]bool{}
	var list []due
	for _, stack := range a.inForce() {
		if len(a.gate.Denied(stack)) > 0 {
			continue
		}
		for _, c := range obs.Containers {
			svc := stack.Service(c.Labels[api.LabelService])
			if c.Labels[api.LabelProject] != stack.Project || svc == nil || svc.Probe == nil {
				continue
			}
			if c.State != api.StateRunning || !c.Facts.ProbedHealthy.Equal(c.StartedAt) {
				continue
			}
			seen[c.ID] = true
			st := states[c.ID]
			if st == nil {
				st = &probeState{last: now}
				states[c.ID] = st
			}
			if now.Sub(st.last) >= svc.Probe.Interval {
				st.last = now
				list = append(list, due{c, svc.Probe, st})
			}
		}
	}
	for id := range states {
		if !seen[id] {
			delete(states, id)
		}
	}
	return list
}

func (a *Agent) probeOne(ctx context.Context, d due) {
	err := a.exec.CheckProbe(ctx, d.container, d.probe)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		d.state.failures = 0
	} else {
		d.state.failures++
	}
	unhealthy := d.state.failures >= max(1, d.probe.Failures)
	message := ""
	if err != nil {
		message = err.Error()
	}
	if unhealthy != d.container.Facts.ProbedUnhealthy || unhealthy && message != d.container.Facts.ProbeMessage {
		a.cache.SetFacts(d.container.ID, func(f *api.ContainerFacts) {
			f.ProbedUnhealthy, f.ProbeMessage = unhealthy, message
		})
	}
}
