package report

import (
	"log/slog"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/telemetry"
)

// Config of a Report.
type Config struct {
	// Node is the name of the node.
	Node string
	// Log gets every event as well. Required.
	Log *slog.Logger
	// Providers tells how the providers of secrets are doing, without waiting for
	// anything; nil when there are none.
	Providers func() []api.ProviderState
	// Secrets tells about the references in use, without waiting for anything; nil when
	// there is nothing to tell.
	Secrets func() api.SecretsStatus
	// StackSecrets tells about the references of a stack, by the digests of the values that
	// its containers get now, without waiting for anything; nil when there is nothing to tell.
	StackSecrets func(stack string, inForce map[string]string) []api.StackSecret
	// Numbers reserves numbers of events on disk: it returns the first of reserved new ones that
	// no agent on this node has given, at least from. nil: the clock alone makes them grow.
	Numbers func(from uint64) (first uint64)
	// Source is where the desired state comes from.
	Source Source
}

// Report is the newest knowledge about one node. Its methods are safe for concurrent use
// and wait for nothing but each other and the log.
type Report struct {
	node    string
	metrics *telemetry.Metrics
	events  *eventLog
	started time.Time
	// providers is nil when there are none.
	providers func() []api.ProviderState
	// secrets is nil when there is nothing to tell.
	secrets      func() api.SecretsStatus
	stackSecrets func(stack string, inForce map[string]string) []api.StackSecret
	from         Source

	mu         sync.Mutex
	desired    desiredState
	source     sourceState
	engine     api.Engine
	policy     api.PolicyStatus
	observed   bool // the engine answered once
	conditions map[string]api.Condition
	mounts     map[string]api.MountState
	stacks     map[string]*stack
	link       *api.Link
	facts      facts

	// changed is closed at the next change; nil while nobody waits for one.
	changed chan struct{}
}

// desiredState is the state in force.
type desiredState struct {
	accepted bool
	revision string
	at       time.Time
	// since is when the revision came into force here.
	since  time.Time
	stacks map[string]string // project by stack
	mounts map[string]bool
}

// sourceState is the result of the last look at the source.
type sourceState struct {
	revision  string
	checkedAt time.Time
	confirmed time.Time
	condition *api.Condition
}

// New returns a report that knows nothing yet.
func New(cfg Config) *Report {
	r := &Report{
		node:         cfg.Node,
		providers:    cfg.Providers,
		secrets:      cfg.Secrets,
		from:         cfg.Source,
		stackSecrets: cfg.StackSecrets,
		metrics:      telemetry.NewMetrics(telemetry.Build{Version: api.Version, Commit: api.Commit}),
		events:       newEventLog(cfg.Log.With("node", cfg.Node), cfg.Numbers),
		started:      time.Now(),
		conditions:   map[string]api.Condition{},
		mounts:       map[string]api.MountState{},
		stacks:       map[string]*stack{},
	}
	if cfg.Providers != nil {
		r.metrics.WatchProviders(measured(cfg.Providers))
	}
	if cfg.Secrets != nil {
		r.metrics.WatchSecrets(counted(cfg.Secrets))
	}
	r.metrics.WatchFacts(r.measuredFacts)
	return r
}

// SetDesired notes the desired state that is in force. at is the time of its revision; zero
// when unknown. Mounts that it no longer requires are forgotten; stacks that it no longer
// has are forgotten once nothing of them is left to remove.
func (r *Report) SetDesired(d *api.Desired, at time.Time) {
	if d == nil {
		return
	}
	r.mu.Lock()
	changed := !r.desired.accepted || r.desired.revision != d.Revision
	since := r.desired.since
	if changed {
		since = time.Now()
	}
	r.desired = desiredState{
		accepted: true, revision: d.Revision, at: at, since: since,
		stacks: map[string]string{}, mounts: map[string]bool{},
	}
	for i := range d.Stacks {
		r.desired.stacks[d.Stacks[i].Name] = d.Stacks[i].Project
		for _, m := range d.Stacks[i].Mounts {
			r.desired.mounts[m.Path] = true
		}
	}
	for path := range r.mounts {
		if !r.desired.mounts[path] {
			delete(r.mounts, path)
			r.metrics.ForgetMount(path)
		}
	}
	r.touch()
	r.mu.Unlock()
	r.metrics.SetDesired(d.Revision)
	if changed {
		r.events.add(incident{
			Event: api.Event{Level: levelInfo, Reason: api.ReasonProgressing, Message: "desired state accepted: revision " + d.Revision},
			text:  "desired state accepted", attrs: []slog.Attr{slog.String("revision", d.Revision)},
		})
	}
}

// SetSource notes the result of a look at the source at the time at. An empty revision
// means that none was seen this time; a nil condition that the state in force is confirmed.
func (r *Report) SetSource(revision string, at time.Time, c *api.Condition) {
	r.mu.Lock()
	before, known := r.source.condition, r.source.revision
	if revision != "" {
		r.source.revision = revision
	}
	r.source.checkedAt = at
	if c == nil {
		r.source.confirmed = at
	}
	r.source.condition = withSince(c, before)
	moved := r.source.revision != known
	r.touch()
	r.mu.Unlock()

	if c == nil {
		r.metrics.DesiredConfirmed(at)
	} else {
		r.metrics.SourceError(string(c.Reason))
	}
	if !sameReason(before, c) || c != nil && moved {
		r.events.add(conditionIncident("source", before, c, slog.String("revision", revision)))
	}
}

// SetEngine notes who the engine is and whether it answers.
func (r *Report) SetEngine(e api.Engine) {
	r.mu.Lock()
	r.engine = e
	r.observed = r.observed || e.Reachable
	r.touch()
	r.mu.Unlock()
	if e.Reachable {
		r.metrics.EngineUp()
	} else {
		r.metrics.EngineDown()
	}
}

// Source tells of the last look at the source: when it was, and what was bad about it.
func (r *Report) Source() (at time.Time, bad *api.Condition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source.condition != nil {
		copied := *r.source.condition
		bad = &copied
	}
	return r.source.checkedAt, bad
}

// Policy tells which policy is in force.
func (r *Report) Policy() api.PolicyStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.policy
}

// SetPolicy notes the node's policy that is in force.
func (r *Report) SetPolicy(p api.PolicyStatus) {
	r.mu.Lock()
	r.policy = p
	r.touch()
	r.mu.Unlock()
}

// SetNodeCondition notes a condition of the node under a key of the caller's; nil removes it.
func (r *Report) SetNodeCondition(key string, c *api.Condition) {
	r.mu.Lock()
	var before *api.Condition
	if known, ok := r.conditions[key]; ok {
		before = &known
	}
	if c == nil {
		delete(r.conditions, key)
	} else {
		r.conditions[key] = *withSince(c, before)
	}
	r.touch()
	r.mu.Unlock()
	if sameReason(before, c) {
		return
	}
	if c != nil && ofEngine(c.Reason) {
		r.metrics.EngineError(string(c.Reason))
	}
	r.events.add(conditionIncident(key, before, c))
}

// SetMount notes the state of a required mount.
func (r *Report) SetMount(path string, st api.MountState) {
	r.mu.Lock()
	before, known := r.mounts[path]
	wanted := !r.desired.accepted || r.desired.mounts[path]
	if wanted {
		r.mounts[path] = st
		if before != st {
			r.touch()
		}
	}
	r.mu.Unlock()
	if !wanted {
		return // a probe that ended after its mount was no longer required
	}
	r.metrics.SetMount(telemetry.Mount{Path: path, OK: st.OK})
	if known && before.OK == st.OK && before.Reason == st.Reason || !known && st.OK {
		return
	}
	e := incident{Event: api.Event{Level: levelWarn, Object: path, Reason: st.Reason, Message: st.Message}, text: "mount not as wanted"}
	if st.OK {
		e.Level, e.Reason, e.Message, e.text = levelInfo, api.ReasonConverged, "the mount is there as wanted", "mount as wanted"
	}
	r.events.add(e)
}

// Forget drops what is known about a stack.
func (r *Report) Forget(name string) {
	r.mu.Lock()
	delete(r.stacks, name)
	r.touch()
	r.mu.Unlock()
	r.metrics.ForgetStack(name)
}

// Plans returns the newest plan of every stack, sorted by name. They must not be changed.
func (r *Report) Plans() []*plan.Plan {
	r.mu.Lock()
	defer r.mu.Unlock()
	plans := make([]*plan.Plan, 0, len(r.stacks))
	for _, name := range sortedKeys(r.stacks) {
		plans = append(plans, r.stacks[name].plan)
	}
	return plans
}
