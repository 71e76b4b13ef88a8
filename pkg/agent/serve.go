package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/report"
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
	obs := b.a.cache.Snapshot()
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

// Alive says whether the loop still turns.
func (b backend) Alive() error { return b.a.loop.Alive() }

var _ report.Backend = backend{}

// Pace of questions to the engine: often while it can't be reached, seldom while it can.
// A hung engine ends no event stream; only a question that gets no answer shows it.
const (
	enginePoll  = 2 * time.Second
	enginePulse = 5 * time.Second
)

// watchEngine keeps the status of the engine current.
func (a *Agent) watchEngine(ctx context.Context) error {
	known, silent := false, false
	var connected time.Time // of the engine that is known: another one may have taken its place
	for {
		up, since, err := a.cache.Connected()
		switch {
		case up:
			err := a.askEngine(ctx, known && since.Equal(connected))
			if silent = err != nil && ctx.Err() == nil; silent && known {
				a.engineLost(time.Now(), err)
			}
			known, connected = err == nil, since
		case known || err != nil && !silent:
			known = false
			a.engineLost(since, err)
		}
		wait := enginePoll
		if known {
			wait = enginePulse
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// askEngine asks an engine who it is, and one that is known only whether it is there.
func (a *Agent) askEngine(ctx context.Context, known bool) error { //nolint:revive // known is what the answer is compared with
	if known {
		return a.engine.Ping(ctx)
	}
	info, err := a.engine.Info(ctx)
	if err != nil {
		return err
	}
	a.report.SetEngine(info)
	a.report.SetNodeCondition("engine", nil)
	return nil
}

// engineLost tells that the engine does not answer.
func (a *Agent) engineLost(since time.Time, err error) {
	a.report.SetEngine(api.Engine{})
	a.report.SetNodeCondition("engine", engineCondition(since, err))
}

func engineCondition(since time.Time, err error) *api.Condition {
	c := &api.Condition{
		Type: api.ConditionDegraded, Status: true, Reason: api.ReasonEngineDown, Since: since,
		Message: "the engine does not answer; containers run on by themselves, repairs wait for it",
	}
	if err != nil {
		_, reason := engine.Classify(err)
		c.Reason = reason
		c.Message += ": " + err.Error()
	}
	return c
}
