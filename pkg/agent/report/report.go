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

// keyEngine is the key of the node's condition about the engine.
const keyEngine = "engine"

// SetEngine notes who the engine is and whether it answers. That one does which answers ends
// what was wrong with it.
func (r *Report) SetEngine(e api.Engine) {
	r.mu.Lock()
	r.engine = e
	r.observed = r.observed || e.Reachable
	var news []incident
	if e.Reachable {
		news = r.putCondition(keyEngine, nil)
	}
	r.touch()
	r.mu.Unlock()
	if e.Reachable {
		r.metrics.EngineUp()
	} else {
		r.metrics.EngineDown()
	}
	r.events.add(news...)
}

// SetEngineDown notes that the engine does not answer, and why.
func (r *Report) SetEngineDown(c *api.Condition) {
	r.mu.Lock()
	r.engine = api.Engine{}
	news := r.putCondition(keyEngine, c)
	r.touch()
	r.mu.Unlock()
	r.metrics.EngineDown()
	r.events.add(news...)
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

// SetPolicy notes the node's policy that is in force, and what is wrong with its file; nil
// when nothing is.
func (r *Report) SetPolicy(p api.PolicyStatus, c *api.Condition) {
	r.mu.Lock()
	r.policy = p
	news := r.putCondition("policy", c)
	r.touch()
	r.mu.Unlock()
	r.events.add(news...)
}

// SetNodeCondition notes a condition of the node under a key of the caller's; nil removes it.
func (r *Report) SetNodeCondition(key string, c *api.Condition) {
	r.mu.Lock()
	news := r.putCondition(key, c)
	r.touch()
	r.mu.Unlock()
	r.events.add(news...)
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
