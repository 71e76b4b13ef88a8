package reconcile

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// Limits bounds operations of one kind that run at once.
type Limits map[plan.Kind]int

// DefaultLimits suits a small node: engines gain up to sixteen starts at once, even with
// two CPUs, because a start mostly waits; what waits even more (stops, probes) must not
// hold up anything else.
func DefaultLimits() Limits {
	return Limits{
		"": 8, plan.Create: 8, plan.Start: 16, plan.Pull: 3, plan.Stop: 64, plan.Restart: 16, plan.Probe: 256, plan.Hook: 16, plan.Rotate: 16,
	}
}

// noEffectAfter is how often an operation may succeed and be wanted again at once before
// it counts as failed: an engine that says yes and does nothing must not be asked for ever.
const noEffectAfter = 4

// Classified errors say how a failure is to be treated.
type Classified interface {
	error
	Failure() (api.ErrorClass, api.Reason)
}

// errNoEffect is remembered for operations that succeed without changing anything.
var errNoEffect = errors.New("the engine reported success, but nothing changed")

// launch starts an operation unless it runs, its object is busy, or its kind is at its
// limit; then the end of another operation brings the next round.
func (l *Loop) launch(ctx context.Context, name string, st *stackState, op plan.Op) {
	if l.flights[op.Key] != nil || l.busy(op) || l.full(op.Kind) {
		return
	}
	if st.repeats[op.Key]++; st.repeats[op.Key] > noEffectAfter && op.Kind != plan.Probe {
		st.repeats[op.Key] = 0
		l.remember(op, st.target.Desired.Revision, errNoEffect)
		st.dirty = true
		return
	}
	opCtx, cancel := context.WithCancel(ctx)
	l.flights[op.Key] = &flight{op: op, stack: name, revision: st.target.Desired.Revision, started: time.Now(), cancel: cancel}
	l.running[string(l.limitKey(op.Kind))]++
	target := st.target
	if st.last.Back != nil { // with the logins of today
		back := *st.last.Back
		back.Registries = target.Desired.Registries
		target = plan.Target{Desired: &back, Stack: &back.Stacks[0]}
	}
	go func() {
		err := l.cfg.Applier.Apply(opCtx, op, target)
		l.ends <- end{key: op.Key, err: err}
	}()
}

// landed takes the end of an operation and marks its stack for the next round.
func (l *Loop) landed(e end) {
	f := l.flights[e.key]
	f.cancel()
	delete(l.flights, e.key)
	l.running[string(l.limitKey(f.op.Kind))]--
	l.markWaiting()
	st := l.stacks[f.stack]
	if st == nil {
		return
	}
	st.dirty = true
	if errors.Is(e.err, context.Canceled) {
		return
	}
	l.cfg.Report.Applied(f.stack, f.op, time.Since(f.started), e.err)
	if e.err != nil {
		st.repeats[e.key] = 0
	}
	if e.err != nil && f.revision != st.target.Desired.Revision {
		return // the new desired state may be what mends it
	}
	l.remember(f.op, f.revision, e.err)
}

// markWaiting lets stacks whose ready operations did not find a place try again.
func (l *Loop) markWaiting() {
	for _, st := range l.stacks {
		if st.last == nil || st.dirty {
			continue
		}
		for i := range st.last.Ops {
			if op := &st.last.Ops[i]; len(op.Needs) == 0 && !op.Passive && !op.Stalled && l.flights[op.Key] == nil {
				st.dirty = true
				break
			}
		}
	}
}

// remember writes a failure with its back-off, or forgets it after success.
func (l *Loop) remember(op plan.Op, revision string, err error) {
	prev, had := l.cfg.World.Snapshot().Failures[op.Key]
	if err == nil {
		if had {
			l.cfg.World.SetFailure(op.Key, nil)
		}
		return
	}
	class, reason := api.Transient, api.ReasonEngineFailed
	if c, ok := errors.AsType[Classified](err); ok {
		class, reason = c.Failure()
	}
	now := time.Now()
	f := api.Failure{Count: 1, At: now, Class: class, Reason: reason, Message: err.Error(), Revision: revision}
	if had && prev.Revision == revision {
		f.Count = prev.Count + 1
	}
	if class != api.Terminal {
		f.RetryAt = now.Add(retryAfter(f.Count, class))
	}
	l.cfg.World.SetFailure(op.Key, &f)
}

// retryAfter doubles from a quarter of a second up to a minute (five minutes for what
// waits for somebody else), with a tenth of jitter so that nodes don't march in step.
func retryAfter(count int, class api.ErrorClass) time.Duration {
	limit := time.Minute
	if class == api.Waiting {
		limit = 5 * time.Minute
	}
	d := 250 * time.Millisecond
	for ; count > 1 && d < limit; count-- {
		d *= 2
	}
	d = min(d, limit)
	return d + rand.N(d/10+1) //nolint:gosec // jitter needs no secrecy
}

// busy says that another operation acts on the same object. Probes and hooks only look,
// and are cancelled when their container goes.
func (l *Loop) busy(op plan.Op) bool {
	if op.ID == "" || looksOnly(op.Kind) {
		return false
	}
	for _, f := range l.flights {
		if f.op.ID == op.ID && !looksOnly(f.op.Kind) {
			return true
		}
	}
	return false
}

func looksOnly(k plan.Kind) bool {
	return k == plan.Probe || k == plan.Hook || k == plan.Measure || k == plan.Compare
}

func (l *Loop) limitKey(k plan.Kind) plan.Kind {
	if _, ok := l.cfg.Limits[k]; ok {
		return k
	}
	return ""
}

func (l *Loop) full(k plan.Kind) bool {
	k = l.limitKey(k)
	return l.running[string(k)] >= max(1, l.cfg.Limits[k])
}

// cancelStale ends probes that the newest plan no longer asks for: their container was
// replaced, or is healthy by the engine's own word.
func (l *Loop) cancelStale(name string, p *plan.Plan) {
	wanted := map[string]bool{}
	for i := range p.Ops {
		wanted[p.Ops[i].Key] = true
	}
	for key, f := range l.flights {
		if f.stack == name && f.op.Kind == plan.Probe && !wanted[key] {
			f.cancel()
		}
	}
}
