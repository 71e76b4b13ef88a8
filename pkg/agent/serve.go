package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/agent/uplink"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/telemetry"
)

// serve answers on the loopback address (reads only) and on the Unix socket (all).
func (a *Agent) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	b := backend{a}
	if addr := *a.cfg.Listen; addr != "" {
		l, err := telemetry.ListenTCP(ctx, telemetry.TCP{Addr: addr, AllowRemote: a.cfg.AllowRemote})
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		g.Go(func() error { return telemetry.Serve(ctx, l, a.report.ReadHandler(b)) })
	}
	l, err := telemetry.ListenUnix(ctx, a.cfg.Socket)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	g.Go(func() error { return telemetry.Serve(ctx, l, a.report.Handler(b)) })
	close(a.listening)
	return g.Wait()
}

// notify tells systemd that the agent is up once it listens, so that what starts after the
// unit can ask it, and pets the watchdog while the loop beats.
func (a *Agent) notify(ctx context.Context) error {
	select {
	case <-a.listening:
	case <-ctx.Done():
		return nil
	}
	return telemetry.Notify(ctx, backend{a}.Alive)
}

// backend is what the HTTP handlers ask of the agent.
type backend struct{ a *Agent }

// Sync makes the agent look at its source and its secrets now, and try again at once
// what waits out a back-off: somebody mended something.
func (b backend) Sync(context.Context) error {
	b.a.forgetFailures()
	ring(b.a.values.bell)
	ring(b.a.follow.sync)
	return nil
}

// Hold suspends changes of a stack, or resumes them when h is nil. To resume also ends the
// quarantine of an update that failed: a person wants it tried again.
func (b backend) Hold(stack string, h *api.Hold) error {
	err := b.a.store.SetHold(stack, h)
	b.a.cache.SetHold(stack, h)
	if h == nil {
		err = errors.Join(err, b.a.liftQuarantine(stack))
	}
	return err
}

// PlanTree plans the state in dir against the live engine, without changing anything.
func (b backend) PlanTree(ctx context.Context, dir string) ([]*plan.Plan, error) {
	d, _, err := desired.Load(ctx, desired.Request{Root: dir, Node: b.a.cfg.Node, Revision: "local"})
	if err != nil {
		return nil, err
	}
	obs := withImages(ctx, b.a.cache.Snapshot(), d.Stacks, b.a.engine.InspectImage)
	digests := b.a.secrets.Digests()
	denied := func(s *api.Stack) []api.Condition { return b.a.gate.DeniedOf(ctx, d, s) }
	rules := contract{b.a.secrets}
	keepers := plan.Keepers(d.Stacks, plan.Asking{Denied: denied, Refused: rules.Refused, Earlier: b.a.secrets.Earlier})
	plans := make([]*plan.Plan, 0, len(d.Stacks))
	for i := range d.Stacks {
		plans = append(plans, plan.Build(plan.Input{
			Node: d.Node, Revision: d.Revision, Stack: &d.Stacks[i], Observed: obs, Now: time.Now(),
			Secrets: digests, Refused: rules.Refused(&d.Stacks[i]), Denied: denied(&d.Stacks[i]),
			Keepers: keepers, Rehearsal: true,
		}))
	}
	return plans, nil
}

// Logs reads what the containers of the desired state print, redacted.
func (b backend) Logs(ctx context.Context, q report.LogQuery, emit func(report.LogLine)) error {
	of := uplink.LogQuery{Stack: q.Stack, Services: q.Services, Tail: q.Tail, Since: q.Since, Follow: q.Follow}
	return b.a.containerLogs().Stream(ctx, of, func(l uplink.LogLine) {
		stream := "stdout"
		if l.Stderr {
			stream = "stderr"
		}
		emit(report.LogLine{Time: l.Time, Stack: l.Stack, Service: l.Service, Container: l.Container, Stream: stream, Text: l.Text})
	})
}

// Alive says whether the loop still turns.
func (b backend) Alive() error { return b.a.loop.Alive() }

var _ report.Backend = backend{}
