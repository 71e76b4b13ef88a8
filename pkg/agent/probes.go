package agent

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/api"
)

// probeTick is how often it is looked at which services are due for a probe.
const probeTick = time.Second

// probeServices runs the stacks' own probes of containers that were healthy once; before
// that, apply probes them as part of the plan.
func (a *Agent) probeServices(ctx context.Context) error {
	w := &healthWatch{
		observed: a.cache.Snapshot, setFacts: a.cache.SetFacts, check: a.exec.CheckProbe,
		stacks: a.inForce, denied: func(s *api.Stack) bool { return len(a.gate.Denied(s)) > 0 },
		runs: map[run]*probeState{},
	}
	ticker := time.NewTicker(probeTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		w.look(ctx)
	}
}

// healthWatch probes what is known to be healthy. look is called by one goroutine.
type healthWatch struct {
	observed func() *api.Observed
	setFacts func(id string, change func(*api.ContainerFacts))
	check    func(ctx context.Context, c *api.Container, p *api.Probe) error
	stacks   func() []*api.Stack
	denied   func(*api.Stack) bool

	runs map[run]*probeState
}

// run is one run of a container: failures of the run before don't count.
type run struct {
	id      string
	started time.Time
}

// probeState is the memory of the probe of one run.
type probeState struct {
	last     time.Time
	failures int
}

// due is a container whose probe has to be run.
type due struct {
	container *api.Container
	probe     *api.Probe
	state     *probeState
}

// look runs the probes that are due, side by side.
func (w *healthWatch) look(ctx context.Context) {
	list := w.due(time.Now())
	var g errgroup.Group
	g.SetLimit(16)
	for _, d := range list {
		g.Go(func() error {
			w.probe(ctx, d)
			return nil
		})
	}
	_ = g.Wait()
}

func (w *healthWatch) due(now time.Time) []due {
	obs := w.observed()
	seen := map[run]bool{}
	var list []due
	for _, stack := range w.stacks() {
		if w.denied(stack) {
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
			r := run{c.ID, c.StartedAt.UTC()}
			seen[r] = true
			st := w.runs[r]
			if st == nil {
				st = &probeState{last: now}
				w.runs[r] = st
			}
			if now.Sub(st.last) >= svc.Probe.Interval {
				st.last = now
				list = append(list, due{c, svc.Probe, st})
			}
		}
	}
	for r := range w.runs {
		if !seen[r] {
			delete(w.runs, r)
		}
	}
	return list
}

func (w *healthWatch) probe(ctx context.Context, d due) {
	err := w.check(ctx, d.container, d.probe)
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
	if unhealthy == d.container.Facts.ProbedUnhealthy && (!unhealthy || message == d.container.Facts.ProbeMessage) {
		return
	}
	w.setFacts(d.container.ID, func(f *api.ContainerFacts) {
		if f.ProbedHealthy.Equal(d.container.StartedAt) { // else another run is probed by now
			f.ProbedUnhealthy, f.ProbeMessage = unhealthy, message
		}
	})
}
