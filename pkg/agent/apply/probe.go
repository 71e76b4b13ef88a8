package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// Pace of probes before the first success: at once, then 50 ms doubling up to a second.
// After the first few the pause is also at least ten times what the probe took, so that
// probing uses a tenth of a CPU at most; a service that is up a moment after its start
// does not wait for that. A check that got no answer took long and used nothing: what it
// took makes no pause longer than ten seconds.
const (
	probeFirst = 50 * time.Millisecond
	probeMost  = time.Second
	probeShare = 10
	probeRest  = 10 * time.Second
	probeBurst = 3
)

// probe checks a container until it is healthy, is gone, or the plan no longer asks.
func (x *Executor) probe(ctx context.Context, op plan.Op) error {
	pause := probeFirst
	for tries := 1; ; tries++ {
		c := x.cfg.World.Snapshot().Containers[op.ID]
		if c == nil || c.State != api.StateRunning || c.Health == api.HealthUnhealthy && op.Wanted.Probe == nil {
			return nil
		}
		x.beginProbing(op, c)
		began := time.Now()
		err := x.checkOnce(ctx, op, c)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errNoTest) {
			return &opError{class: api.Waiting, reason: api.ReasonHealthInherited, err: err}
		}
		x.probed(op, c, err)
		if err == nil {
			return nil
		}
		wait := pause
		if tries >= probeBurst {
			wait = max(pause, min(probeShare*time.Since(began), probeRest))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		pause = min(2*pause, probeMost)
	}
}

// beginProbing notes since when a run of a container is probed: from then on it has to
// become healthy in time.
func (x *Executor) beginProbing(op plan.Op, c *api.Container) {
	if op.Wanted.Probe == nil || !c.Facts.ProbedSince.Before(c.StartedAt) {
		return
	}
	since := x.now()
	if since.Before(c.StartedAt) { // by an engine whose clock is ahead
		since = c.StartedAt
	}
	x.cfg.Cache.SetFacts(op.ID, func(f *api.ContainerFacts) { f.ProbedSince = since })
}

// probed notes what came of a check of a run.
func (x *Executor) probed(op plan.Op, c *api.Container, err error) {
	switch {
	case err == nil:
		x.cfg.Cache.SetFacts(op.ID, func(f *api.ContainerFacts) {
			if f.HealthyAt.IsZero() {
				f.HealthyAt = x.now()
			}
			f.ProbedHealthy, f.ProbedUnhealthy, f.ProbeMessage = c.StartedAt, false, ""
		})
	case op.Wanted.Probe != nil && err.Error() != c.Facts.ProbeMessage:
		x.cfg.Cache.SetFacts(op.ID, func(f *api.ContainerFacts) { f.ProbeMessage = err.Error() })
	}
}

// errNoTest says that there is nothing to run. Images may bring such a healthcheck; an engine
// that can't run it either says starting for ever. Success would ask for the probe again at once.
var errNoTest = errors.New("the healthcheck that its image brings is none of CMD and CMD-SHELL with a command, and can't be run: " +
	"declare a healthcheck in the Compose file (or disable: true), or a probe in stack.yaml")

func (x *Executor) checkOnce(ctx context.Context, op plan.Op, c *api.Container) error {
	if p := op.Wanted.Probe; p != nil {
		return x.CheckProbe(ctx, c, p)
	}
	command := healthCommand(c.Spec.Healthcheck)
	if len(command) == 0 {
		return errNoTest
	}
	timeout := c.Spec.Healthcheck.Timeout
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	return x.execCheck(ctx, c.ID, command, timeout)
}

// CheckProbe runs the stack's own probe of a container once.
func (x *Executor) CheckProbe(ctx context.Context, c *api.Container, p *api.Probe) error {
	if len(p.Exec) > 0 {
		command, _ := inside(c, p.Exec)
		return x.execCheck(ctx, c.ID, command, p.Timeout)
	}
	port := uint16(0)
	if p.HTTP != nil {
		port = p.HTTP.Port
	} else if p.TCP != nil {
		port = p.TCP.Port
	}
	addr := probeAddress(c, port)
	if addr == "" {
		return fmt.Errorf("container %s has no address for port %d", c.Name, port)
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	return x.cfg.Checker.Check(ctx, addr, *p)
}

// probeAddress prefers the container's own address on a network, which works without a
// published port; containers on the host's network are reached over loopback.
func probeAddress(c *api.Container, port uint16) string {
	p := strconv.Itoa(int(port))
	if c.Spec.NetworkMode == "host" {
		return net.JoinHostPort("127.0.0.1", p)
	}
	best := ""
	for id, a := range c.Attached {
		if a.Address != "" && (best == "" || id < best) {
			best = id
		}
	}
	if best == "" {
		return ""
	}
	return net.JoinHostPort(c.Attached[best].Address, p)
}

func (x *Executor) execCheck(ctx context.Context, id string, command []string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res, err := x.cfg.Engine.Exec(ctx, engine.ExecRequest{ID: id, Command: command, MaxOutput: 512})
	if err != nil {
		return err
	}
	if res.ExitCode != 0 {
		return fmt.Errorf("exit code %d: %s", res.ExitCode, res.Output)
	}
	return nil
}

// healthCommand is what the engine would exec for a healthcheck.
func healthCommand(h *api.Healthcheck) []string {
	if h == nil || len(h.Test) < 2 {
		return nil
	}
	switch h.Test[0] {
	case "CMD":
		return h.Test[1:]
	case "CMD-SHELL":
		return []string{"/bin/sh", "-c", h.Test[1]}
	}
	return nil
}
