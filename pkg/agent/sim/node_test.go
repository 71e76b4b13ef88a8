package sim_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/apply"
	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/agent/reconcile"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// node is a host in the simulation: an engine and what the agent keeps on disk survive
// a crash of the agent.
type node struct {
	t      testing.TB
	fake   *enginetest.Fake
	memory *memory
	ram    *ram
	vault  *vault
	// check answers probes by HTTP and TCP; nil is success.
	check func(addr string) error

	// Of the agent that runs now.
	cache  *observe.Cache
	report *recorder
	loop   *reconcile.Loop
	ctx    context.Context
	crash  context.CancelFunc
	done   chan struct{}
	fault  atomic.Pointer[fault]
}

// fault fails calls before or after their effect; it is called from many goroutines.
type fault func(when, method, object string) error

var errCrashed = errors.New("the agent has crashed")

func newNode(t testing.TB, seed uint64) *node {
	n := &node{t: t, fake: enginetest.New(seed), memory: newMemory(), vault: &vault{value: "value-1", earlier: map[string]bool{}}}
	n.ram = newRAM(n)
	hook := func(when string) enginetest.Hook {
		return func(method, object string) error { return n.failed(when, method, object) }
	}
	n.fake.OnCall, n.fake.AfterCall = hook("before"), hook("after")
	for _, ref := range []string{"img:1", "img:2"} {
		n.fake.AddImage(ref, api.Image{})
	}
	return n
}

// failed asks the fault whether a call fails.
func (n *node) failed(when, method, object string) error {
	if f := n.fault.Load(); f != nil {
		return (*f)(when, method, object)
	}
	return nil
}

// start boots an agent as cmd/agent does after a crash: memory is all it has.
func (n *node) start(d *api.Desired) {
	ctx, cancel := context.WithCancel(context.Background())
	n.ctx, n.crash, n.done = ctx, cancel, make(chan struct{})
	log := slog.New(slog.DiscardHandler)
	n.cache = observe.New(n.fake, observe.Config{Logger: log, ProcRoot: "/nonexistent"})
	n.report = &recorder{plans: map[string]*plan.Plan{}}
	exec := apply.New(apply.Config{
		Engine: n.fake, Cache: n.cache, World: n.cache, Memory: n.memory, Secrets: n.vault, Delivery: n.ram,
		Kept: keeper{n}, Rotation: n.ram,
		Files: noFiles{}, Checker: checker{n}, Log: log,
	})
	n.loop = reconcile.New(reconcile.Config{World: n.cache, Applier: exec, Secrets: n.vault, Report: n.report, Log: log, Limits: reconcile.DefaultLimits()})
	n.cache.Subscribe(n.loop.Ring)
	n.memory.restore(n.cache)
	n.vault.boot()
	for folder, digest := range n.ram.boot() {
		n.cache.SetFolder(folder, digest)
	}
	n.resumeKept()
	cache, loop, done := n.cache, n.loop, n.done
	go func() {
		var wg sync.WaitGroup
		wg.Go(func() { _ = cache.Run(ctx) })
		wg.Go(func() { _ = loop.Run(ctx) })
		wg.Wait()
		close(done)
	}()
	n.loop.SetDesired(d)
}

// stop ends the agent and waits for it.
func (n *node) stop() {
	n.crash()
	<-n.done
}

// settle lets virtual time pass until the stacks are converged, at most limit.
func (n *node) settle(limit time.Duration, stacks ...string) error {
	deadline := time.Now().Add(limit)
	for {
		synctest.Wait()
		if n.report.converged(stacks) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not converged after %s:\n%s", limit, n.report.explain(stacks))
		}
		time.Sleep(100 * time.Millisecond) // virtual
	}
}

// recorder keeps the newest plan of each stack.
type recorder struct {
	mu    sync.Mutex
	plans map[string]*plan.Plan
	ops   []string
	// planned is told of each plan.
	planned func(*plan.Plan)
}

func (r *recorder) Planned(stack string, p *plan.Plan, _ time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plans[stack] = p
	if r.planned != nil {
		r.planned(p)
	}
}

func (r *recorder) Applied(_ string, op plan.Op, _ time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := op.String()
	if err != nil {
		line += " FAILED: " + err.Error()
	}
	r.ops = append(r.ops, line)
}

func (r *recorder) converged(stacks []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range stacks {
		p := r.plans[s]
		if p == nil || !p.Status.Converged || len(p.Ops) > 0 {
			return false
		}
	}
	return true
}

func (r *recorder) explain(stacks []string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := ""
	for _, s := range stacks {
		if p := r.plans[s]; p != nil {
			out += fmt.Sprintf("%s%s: %s: %s\n", p, s, p.Status.Reason, p.Status.Message)
		}
	}
	for _, op := range r.ops[max(0, len(r.ops)-25):] {
		out += "did " + op + "\n"
	}
	return out
}

// memory is the agent's state on disk.
type memory struct {
	mu        sync.Mutex
	adoptions map[string][2]string
	jobs      map[string]string
	hooks     map[string]bool
	rollouts  map[string]*api.Rollout
	pulls     map[string]time.Time
	kept      map[string]api.Kept
}

func newMemory() *memory {
	return &memory{
		adoptions: map[string][2]string{}, jobs: map[string]string{}, hooks: map[string]bool{}, rollouts: map[string]*api.Rollout{},
		pulls: map[string]time.Time{}, kept: map[string]api.Kept{},
	}
}

func (m *memory) restore(c *observe.Cache) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, a := range m.adoptions {
		c.SetFacts(id, func(f *api.ContainerFacts) { f.SpecHash, f.SecretDigest = a[0], a[1] })
	}
	for id := range m.hooks {
		c.SetFacts(id, func(f *api.ContainerFacts) { f.HooksPending = true })
	}
	for k, v := range maps.All(m.jobs) {
		c.SetJob(k, v)
	}
	for ref, at := range m.pulls {
		c.SetPulled(ref, at)
	}
	for stack, r := range m.rollouts {
		c.SetRollout(stack, r)
	}
}

func (m *memory) SetAdoption(id, spec, secret string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.adoptions[id] = [2]string{spec, secret}
	return nil
}

func (m *memory) SetJob(key, hash string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jobs[key] = hash
	return nil
}

func (m *memory) SetRollout(stack string, r *api.Rollout) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rollouts[stack] = r
	return nil
}

func (m *memory) SetPulled(ref string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pulls[ref] = at
	return nil
}

// ended says that the job whose container had this name is recorded with the hash, now or
// with the last known good.
func (m *memory) ended(container, hash string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := api.JobKey("p", "migrate", container)
	r := m.rollouts["s"]
	return m.jobs[key] == hash || r != nil && r.Good != nil && r.Good.Jobs[key] == hash
}

func (m *memory) MarkHooksPending(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hooks[id] = true
	return nil
}

func (m *memory) ClearHooksPending(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.hooks, id)
	return nil
}

type noSecrets struct{}

func (noSecrets) Open(string) (secrets.Value, bool)           { return secrets.Value{}, false }
func (noSecrets) Digests() map[string]string                  { return nil }
func (noSecrets) Earlier() map[string]bool                    { return nil }
func (noSecrets) OpenAs(string, string) (secrets.Value, bool) { return secrets.Value{}, false }
func (noSecrets) DigestOf(string, string) string              { return "" }
func (noSecrets) Restore(string, string)                      {}
func (noSecrets) Redact(text string) string                   { return text }
func (noSecrets) Refused(*api.Stack) map[string]string        { return nil }

type noFiles struct{}

func (noFiles) Materialise(context.Context, string, api.RepoSource) (string, error) {
	return "", errors.New("no files in the simulation")
}

type checker struct{ n *node }

func (c checker) Check(_ context.Context, addr string, _ api.Probe) error {
	if c.n.check == nil {
		return nil
	}
	return c.n.check(addr)
}
