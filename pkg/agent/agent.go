package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/agent/apply"
	"ktrdr.io/fleet/pkg/agent/internal/deliver"
	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/agent/internal/gate"
	"ktrdr.io/fleet/pkg/agent/internal/probe"
	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/agent/internal/state"
	"ktrdr.io/fleet/pkg/agent/reconcile"
	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/agent/uplink"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/telemetry"
	"ktrdr.io/fleet/pkg/wire/pki"
)

// loggers are the agent's loggers by component.
type loggers struct{ root, source *slog.Logger }

// Agent is one running agent.
type Agent struct {
	cfg     Config
	log     *slog.Logger
	store   *state.Store
	engine  *engine.Client
	cache   *observe.Cache
	secrets *secrets.Store
	gate    *gate.Gate
	files   *state.Files
	folders *deliver.Store
	exec    *apply.Executor
	loop    *reconcile.Loop
	report  *report.Report
	watch   *engineWatch
	follow  *follower
	mounts  *mountFeed
	values  *secretFeed
	listed  *registrationFeed
	backups *backupFeed
	// link and renewal are nil without a controller.
	link    *uplink.Link
	renewal *uplink.Renewal
	keys    struct {
		sync.Mutex
		store *pki.KeyStore
	}

	// accepting is held by who puts a state in force.
	accepting sync.Mutex
	desired   atomic.Pointer[api.Desired]
	used      atomic.Pointer[usedSecrets]
	// listening is closed when the endpoints accept connections.
	listening chan struct{}
}

// Run runs the agent until ctx ends. Containers keep running after it returns.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	a, err := newAgent(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer a.close()
	a.resume()
	g, ctx := errgroup.WithContext(ctx)
	for _, part := range []func(context.Context) error{
		a.cache.Run, a.loop.Run, a.follow.run, a.mounts.run, a.values.run, a.listed.run, a.backups.run, a.probeServices, a.keepHouse, a.keepDelivery,
		a.watchEngine, a.rememberRuns, trim, a.serve, a.notify, a.syncOnHangup, a.fallBack, a.gate.Run, a.connect, a.renew,
	} {
		g.Go(func() error { return ignoreCancel(ctx, part(ctx)) })
	}
	return g.Wait()
}

// ignoreCancel makes the end of ctx a clean end.
func ignoreCancel(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func newAgent(ctx context.Context, cfg Config, log *slog.Logger) (*Agent, error) {
	if err := os.MkdirAll(cfg.StateDir, 0o711); err != nil { //nolint:gosec // containers read files below it
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	a := &Agent{cfg: cfg, log: log, listening: make(chan struct{})}
	var err error
	if a.store, err = state.Open(state.Config{Dir: cfg.StateDir}, log); err != nil {
		return nil, fmt.Errorf("open the agent's memory: %w", err)
	}
	if a.gate, err = gate.New(cfg.gate(log.With("component", "policy"))); err != nil {
		return nil, err
	}
	if err := a.openSecrets(); err != nil {
		return nil, err
	}
	engineCfg := engine.Default()
	engineCfg.Host, engineCfg.Redact = cfg.Engine.Host, a.secrets.Redact
	if a.engine, err = engine.New(engineCfg); err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	if err := a.openSource(); err != nil {
		return nil, err
	}
	if err := a.wire(); err != nil {
		return nil, err
	}
	if err := a.wireLink(); err != nil {
		return nil, err
	}
	return a, ctx.Err()
}

func (a *Agent) openSecrets() error {
	key, err := a.store.NodeKey()
	if err != nil {
		return fmt.Errorf("node key: %w", err)
	}
	providers, err := a.cfg.Secrets.open(a.cfg.Node)
	if err != nil {
		return err
	}
	a.secrets = secrets.New(secrets.NewGuarded(providers, a.gate.AllowsReference), key)
	telemetry.SetRedactor(a.log, a.secrets.Redact)
	return nil
}

func (a *Agent) openSource() error {
	logs := loggers{root: a.log, source: a.log.With("component", "source")}
	src, poll, err := a.cfg.Source.open(filepath.Join(a.cfg.StateDir, "source"), logs)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	a.follow = &follower{
		src: src, poll: poll, node: a.cfg.Node, log: logs.source,
		sync: make(chan struct{}, 1), looked: make(chan struct{}), accept: a.accept, refused: a.refused,
	}
	if dir, ok := src.(interface{ Early() <-chan struct{} }); ok {
		a.follow.early = dir.Early()
	}
	return nil
}

// wire connects the loops.
func (a *Agent) wire() error {
	a.cache = observe.New(a.engine, observe.Config{Logger: a.log.With("component", "cache")})
	a.files = state.NewFiles(filepath.Join(a.cfg.StateDir, "files"))
	delivery, err := a.cfg.newDelivery()
	if err != nil {
		return err
	}
	a.folders = deliver.New(delivery, a.log.With("component", "deliver"))
	a.exec = apply.New(apply.Config{
		Engine: a.engine, Cache: a.cache, World: a.cache, Memory: memory{a.store}, Secrets: a.secrets, Delivery: a.folders,
		Kept: keptSecrets{a}, Rotation: a.folders,
		Files: a.files, Checker: checker{}, Policy: a.gate, Registries: a.engine, Log: a.log.With("component", "apply"),
	})
	a.report = report.New(report.Config{Node: a.cfg.Node, Log: a.log, Numbers: a.eventNumbers, Providers: a.secrets.Providers, Secrets: a.secretsStatus, StackSecrets: a.stackSecrets, Source: a.cfg.Source.told()})
	a.loop = reconcile.New(reconcile.Config{
		World: a.cache, Applier: a.exec, Secrets: contract{a.secrets}, Policy: a.gate, Report: a.report,
		Log: a.log.With("component", "reconcile"), Limits: reconcile.DefaultLimits(),
	})
	a.watch = &engineWatch{engine: a.engine, connected: a.cache.Connected, report: a.report, bell: make(chan struct{}, 1)}
	a.cache.Subscribe(a.watch.heard) // before the loop: it tells what runs on an engine that answers
	a.cache.Subscribe(a.loop.Ring)
	a.gate.Notify(a.report.SetPolicy, a.policyChanged)
	prober, err := probe.NewMounts(probe.Config{}, a.log.With("component", "mounts"))
	if err != nil {
		return fmt.Errorf("mount probes: %w", err)
	}
	a.mounts = &mountFeed{
		probe: prober.Probe, publish: a.publishMount, bell: make(chan struct{}, 1),
		wanted: func() []api.RequiredMount { return a.requiredMounts(a.needed(a.desired.Load())) },
	}
	a.listed, a.backups = a.newRegistrationFeed(), a.newBackupFeed(prober)
	a.values = &secretFeed{
		refresh: a.secrets.Refresh, every: a.cfg.Secrets.Refresh, bell: make(chan struct{}, 1), digests: a.secrets.Digests,
		wanted: func() []string { return a.secretRefs(a.withNeeded(a.desired.Load())) }, looked: a.secretsLooked,
		changed: func() {
			a.forgetFailures() // a corrected password is tried at once
			a.loop.Ring("")
		},
	}
	return nil
}

// eventNumbers reserves numbers for events that come next.
func (a *Agent) eventNumbers(from uint64) uint64 {
	first, err := a.store.Reserve(from, report.ReservedNumbers)
	if err != nil {
		a.log.Warn("numbers of events are not on disk; they may repeat after a restart with the clock set back", "err", err)
	}
	return first
}

// checker runs the HTTP and TCP probes of stacks.
type checker struct{}

// Check tells whether addr answers as p wants.
func (checker) Check(ctx context.Context, addr string, p api.Probe) error {
	return probe.Check(ctx, addr, p)
}

// resume puts what the agent knew before its restart back to work: adoptions, jobs, holds.
func (a *Agent) resume() {
	if msg := a.store.Healed(); msg != "" {
		a.log.Error("the agent's memory was damaged and is started anew", "detail", msg)
		a.report.SetNodeCondition("memory", &api.Condition{
			Type: api.ConditionDegraded, Status: true, Reason: api.ReasonStateCorrupt, Message: msg,
		})
	}
	for id, ad := range a.store.Adoptions() {
		a.cache.SetFacts(id, func(f *api.ContainerFacts) { f.SpecHash, f.SecretDigest = ad.SpecHash, ad.SecretDigest })
	}
	for id := range a.store.HooksPending() {
		a.cache.SetFacts(id, func(f *api.ContainerFacts) { f.HooksPending = true })
	}
	for id, started := range a.store.Runs() {
		a.cache.RememberRun(id, started)
	}
	for key, hash := range a.store.Jobs() {
		a.cache.SetJob(key, hash)
	}
	for stack, r := range a.store.Rollouts() {
		a.cache.SetRollout(stack, r)
	}
	for ref, at := range a.store.Pulls() {
		a.cache.SetPulled(ref, at)
	}
	a.secrets.Remember(a.folders.Values())
	for folder, digest := range a.folders.Folders() {
		a.cache.SetFolder(folder, digest)
	}
	a.secrets.Recall(a.store.Generations())
	a.resumeKept()
	for stack, hold := range a.store.Holds() {
		a.cache.SetHold(stack, &hold)
	}
}

// forgetFailures ends every back-off.
func (a *Agent) forgetFailures() {
	for key := range a.cache.Snapshot().Failures {
		a.cache.SetFailure(key, nil)
	}
}

// policyChanged lets what may be allowed by now be tried at once.
func (a *Agent) policyChanged() {
	a.forgetFailures()
	ring(a.values.bell)
	ring(a.mounts.bell)
	ring(a.listed.bell)
	ring(a.backups.bell)
	a.loop.Ring("")
}

// publishMount tells of a mount before what follows from it is planned.
func (a *Agent) publishMount(path string, st api.MountState) {
	a.report.SetMount(path, st)
	a.cache.SetMount(path, st)
}

func (a *Agent) close() {
	if err := a.follow.src.Close(); err != nil {
		a.log.Warn("close source", "err", err)
	}
	if err := a.store.Close(); err != nil {
		a.log.Warn("close the agent's memory", "err", err)
	}
}

// memory adapts the store to what apply remembers.
type memory struct{ *state.Store }

// SetAdoption remembers under which spec a container was adopted.
func (m memory) SetAdoption(id, specHash, secretDigest string) error {
	return m.Store.SetAdoption(id, state.Adoption{SpecHash: specHash, SecretDigest: secretDigest, At: time.Now()})
}
