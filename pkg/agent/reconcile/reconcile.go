package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// World is what is known, and where failures are remembered.
type World interface {
	Snapshot() *api.Observed
	SetFailure(key string, f *api.Failure)
}

// Applier runs one operation. It returns nil when the operation is done or found to be
// done, and has published what changed before it returns. An error's class and reason
// come from a Classified error, else it is transient.
type Applier interface {
	Apply(ctx context.Context, op plan.Op, target plan.Target) error
}

// Secrets tells about the secrets at hand, by reference, never a value.
type Secrets interface {
	// Digests are keyed digests of the values.
	Digests() map[string]string
	// Refused says which rule of the stack's contract a value breaks.
	Refused(stack *api.Stack) map[string]string
	// Earlier are the digests of replaced values that are still at hand.
	Earlier() map[string]bool
}

// Policy says what the node does not accept of a stack; none means that it is accepted.
type Policy interface {
	Denied(stack *api.Stack) []api.Condition
}

// Reporter is told of every round of a stack, and of every operation that ended.
// Implementations must not block.
type Reporter interface {
	Planned(stack string, p *plan.Plan, took time.Duration)
	Applied(stack string, op plan.Op, took time.Duration, err error)
}

// Config of a Loop.
type Config struct {
	World   World
	Applier Applier
	Secrets Secrets
	// Policy may be nil: everything is accepted.
	Policy Policy
	Report Reporter
	Log    *slog.Logger
	// Limits bounds operations of one kind that run at once; kinds without an entry
	// share the entry "".
	Limits Limits
}

// Loop reconciles all stacks of a node. Its methods may be called concurrently; Run
// only once.
type Loop struct {
	cfg  Config
	bell *bell
	ends chan end

	beat atomic.Int64 // unix nanoseconds of the last turn

	// Owned by Run.
	stacks  map[string]*stackState
	flights map[string]*flight
	running map[string]int
	timer   *time.Timer
}

// stackState is what Run remembers of a stack between rounds.
type stackState struct {
	target plan.Target
	dirty  bool
	wakeAt time.Time
	last   *plan.Plan
	// repeats counts how often an operation was done and wanted again at once.
	repeats map[string]int
}

// flight is an operation that runs.
type flight struct {
	op    plan.Op
	stack string
	// revision of the desired state that it was launched for.
	revision string
	started  time.Time
	cancel   context.CancelFunc
}

// end is the result of a flight.
type end struct {
	key string
	err error
}

// New returns a loop that does nothing before Run and SetDesired.
func New(cfg Config) *Loop {
	return &Loop{
		cfg: cfg, bell: newBell(), ends: make(chan end),
		stacks: map[string]*stackState{}, flights: map[string]*flight{}, running: map[string]int{},
	}
}

// SetDesired replaces the desired state; nil means that none is known, and nothing is
// changed. It returns at once.
func (l *Loop) SetDesired(d *api.Desired) { l.bell.setDesired(d) }

// Ring asks for a round of one project's stack, or of all stacks when project is empty.
func (l *Loop) Ring(project string) { l.bell.ring(project) }

// maxIdle is the longest time between two turns of the loop; Alive relies on it.
const maxIdle = 10 * time.Second

// Alive returns an error when the loop has not turned for three times its longest pause.
func (l *Loop) Alive() error {
	last := l.beat.Load()
	if last == 0 {
		return nil // not started yet
	}
	if idle := time.Since(time.Unix(0, last)); idle > 3*maxIdle {
		return fmt.Errorf("the reconcile loop has not turned for %s", idle.Round(time.Second))
	}
	return nil
}

// Run reconciles until ctx ends, and returns when every operation under way has ended.
func (l *Loop) Run(ctx context.Context) error {
	l.timer = time.NewTimer(maxIdle)
	defer l.timer.Stop()
	for ctx.Err() == nil {
		l.beat.Store(time.Now().UnixNano())
		select {
		case <-ctx.Done():
		case <-l.bell.C:
			l.collect()
		case e := <-l.ends:
			l.landed(e)
		case <-l.timer.C:
			l.markDue(time.Now())
		}
		l.drain()
		l.round(ctx)
	}
	for _, f := range l.flights {
		f.cancel()
	}
	for len(l.flights) > 0 {
		l.landed(<-l.ends)
	}
	return nil
}

// drain takes what else has arrived, so that one round answers a burst.
func (l *Loop) drain() {
	for {
		select {
		case e := <-l.ends:
			l.landed(e)
		case <-l.bell.C:
			l.collect()
		default:
			return
		}
	}
}

// collect takes over a new desired state and marks the stacks that were rung for.
func (l *Loop) collect() {
	projects, all, desired, changed := l.bell.take()
	if changed {
		l.adoptDesired(desired)
	}
	if all {
		l.addOrphans()
	}
	for _, st := range l.stacks {
		if all || slices.Contains(projects, st.target.Stack.Project) {
			st.dirty = true
		}
	}
}

// round plans every dirty stack and starts what is ready.
func (l *Loop) round(ctx context.Context) {
	now := time.Now()
	l.markFollowers()
	for name, st := range l.stacks {
		if !st.dirty || ctx.Err() != nil {
			continue
		}
		st.dirty = false
		l.planStack(ctx, name, st, now)
	}
	l.resetTimer(now)
}

// markFollowers marks stacks that wait for another one that is planned again.
func (l *Loop) markFollowers() {
	for _, st := range l.stacks {
		if st.dirty || st.last == nil {
			continue
		}
		st.dirty = slices.ContainsFunc(st.last.Follows, func(name string) bool {
			other := l.stacks[name]
			return other == nil || other.dirty
		})
	}
}

func (l *Loop) planStack(ctx context.Context, name string, st *stackState, now time.Time) {
	in := plan.Input{
		Node: st.target.Desired.Node, Revision: st.target.Desired.Revision, Stack: st.target.Stack,
		Observed: l.cfg.World.Snapshot(), Now: now,
		Secrets: l.cfg.Secrets.Digests(), Refused: l.cfg.Secrets.Refused(st.target.Stack),
	}
	in.Denied = l.deniedNow(st.target.Stack)
	in.Keepers = plan.Keepers(st.target.Desired.Stacks, plan.Asking{
		Denied: l.deniedNow, Refused: l.cfg.Secrets.Refused, Earlier: l.cfg.Secrets.Earlier,
	})
	p := plan.Build(in)
	st.last, st.wakeAt = p, p.WakeAt
	l.cfg.Report.Planned(name, p, time.Since(now))
	l.cancelStale(name, p)
	ready := p.Ready(now)
	st.forgetEffective(ready)
	for _, op := range ready {
		l.launch(ctx, name, st, op)
	}
	if len(st.target.Stack.Services) == 0 && len(p.Ops) == 0 && p.Status.Converged && !l.isWanted(st) {
		delete(l.stacks, name)
	}
}

// deniedNow is what the policy denies of a stack, and of the last known good where that is in force.
func (l *Loop) deniedNow(stack *api.Stack) []api.Condition {
	denied := l.denied(stack)
	if len(denied) > 0 {
		return denied
	}
	if back := plan.InForce(stack, l.cfg.World.Snapshot()); back != nil {
		return l.denied(&back.Stacks[0])
	}
	return nil
}

func (l *Loop) denied(stack *api.Stack) []api.Condition {
	if l.cfg.Policy == nil {
		return nil
	}
	return l.cfg.Policy.Denied(stack)
}

// forgetEffective drops the counts of operations that had their effect: the plan does not
// ask for them again.
func (st *stackState) forgetEffective(ready []plan.Op) {
	for key := range st.repeats {
		if !slices.ContainsFunc(ready, func(op plan.Op) bool { return op.Key == key }) {
			delete(st.repeats, key)
		}
	}
}

func (l *Loop) isWanted(st *stackState) bool {
	return slices.ContainsFunc(st.target.Desired.Stacks, func(s api.Stack) bool { return s.Name == st.target.Stack.Name })
}

func (l *Loop) markDue(now time.Time) {
	for _, st := range l.stacks {
		if !st.wakeAt.IsZero() && !st.wakeAt.After(now) {
			st.dirty = true
		}
	}
}

// resetTimer arms the timer for the earliest time at which a plan changes by itself.
func (l *Loop) resetTimer(now time.Time) {
	next := now.Add(maxIdle)
	for _, st := range l.stacks {
		if !st.wakeAt.IsZero() && st.wakeAt.Before(next) {
			next = st.wakeAt
		}
	}
	l.timer.Reset(max(time.Millisecond, next.Sub(now)))
}
