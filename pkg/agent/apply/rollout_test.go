package apply_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/apply"
	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// memory keeps the newest rollout of each stack; a full disk is an error of every write.
type memory struct {
	rollouts map[string]*api.Rollout
	full     error
}

func (m *memory) SetRollout(stack string, r *api.Rollout) error {
	if m.full == nil {
		m.rollouts[stack] = r
	}
	return m.full
}

func (*memory) SetAdoption(_, _, _ string) error      { return nil }
func (*memory) SetJob(_, _ string) error              { return nil }
func (*memory) MarkHooksPending(string) error         { return nil }
func (*memory) ClearHooksPending(string) error        { return nil }
func (*memory) SetPulled(_ string, _ time.Time) error { return nil }

// redacting knows one secret.
type redacting struct{ value string }

func (redacting) Open(string) (secrets.Value, bool)           { return secrets.Value{}, false }
func (redacting) OpenAs(string, string) (secrets.Value, bool) { return secrets.Value{}, false }
func (redacting) DigestOf(string, string) string              { return "" }
func (redacting) Restore(string, string)                      {}
func (r redacting) Redact(text string) string                 { return strings.ReplaceAll(text, r.value, "***") }

// files are copied, or are not there.
type files struct {
	kept []string
	err  error
}

func (f *files) Materialise(_ context.Context, _ string, src api.RepoSource) (string, error) {
	f.kept = append(f.kept, src.Path)
	return "/copy", f.err
}

type rig struct {
	fake   *enginetest.Fake
	cache  *observe.Cache
	memory *memory
	files  *files
	exec   *apply.Executor
	target plan.Target
}

const secretOfTwoLines = "first half of it\nsecond half of it"

func newRig() *rig {
	r := &rig{fake: enginetest.New(1), memory: &memory{rollouts: map[string]*api.Rollout{}}, files: &files{}}
	log := slog.New(slog.DiscardHandler)
	r.cache = observe.New(r.fake, observe.Config{Logger: log, ProcRoot: "/nonexistent"})
	r.exec = apply.New(apply.Config{
		Engine: r.fake, Cache: r.cache, World: r.cache, Memory: r.memory, Secrets: redacting{secretOfTwoLines}, Files: r.files, Log: log,
	})
	stack := api.Stack{Name: "s", Project: "p", Services: []api.Service{{Name: "web", Replicas: []api.Replica{{
		Name: "p-web-1", Spec: api.ContainerSpec{Mounts: []api.Mount{{Type: api.MountBind, Target: "/x", Repo: &api.RepoSource{Path: "stacks/s/x"}}}},
	}}}}}
	d := &api.Desired{Revision: "r1", Node: "a", Root: "/root", Stacks: []api.Stack{stack, {Name: "other"}}}
	r.target = plan.Target{Desired: d, Stack: &d.Stacks[0]}
	return r
}

// TestRecordGood: the memory holds the stack alone, with what it takes to make it again,
// and its files are copied before.
func TestRecordGood(t *testing.T) {
	r := newRig()
	op := plan.Op{Kind: plan.RecordGood, Memory: &api.Rollout{Good: &api.KnownGood{Images: map[string]api.ImagePin{"p-web-1": {ID: "sha256:1"}}}}}
	if err := r.exec.Apply(t.Context(), op, r.target); err != nil {
		t.Fatal(err)
	}
	got := r.memory.rollouts["s"]
	if got == nil || got.Good.Stack() == nil || got.Good.Stack().Name != "s" || got.Good.Desired.Root != "/root" || got.Good.Desired.Revision != "r1" {
		t.Fatalf("remembered: %+v", got)
	}
	if r.cache.Snapshot().Rollouts["s"] != got {
		t.Error("the planner does not see it")
	}
	if len(r.files.kept) != 1 {
		t.Errorf("files kept: %v", r.files.kept)
	}
	if op.Memory.Good.Desired != nil {
		t.Error("the plan's own memory was written to")
	}
	r = newRig()
	r.files.err = errors.New("not there")
	if err := r.exec.Apply(t.Context(), op, r.target); err == nil || r.memory.rollouts["s"] != nil {
		t.Errorf("a stack whose files can't be kept is taken for good: %v", err)
	}
}

// TestQuarantine: the last lines of the failed container are kept, few, short and without
// secrets; a log that can't be read and a disk that is full don't hold up the rollback.
func TestQuarantine(t *testing.T) {
	r := newRig()
	var log []string
	for i := range 40 {
		log = append(log, fmt.Sprintf("line %d", i))
	}
	log = append(log, "connecting with "+secretOfTwoLines, strings.Repeat("é", 1000), "the end")
	r.fake.Program = func(*api.Container) enginetest.Program { return enginetest.Program{Log: strings.Join(log, "\n")} }
	r.fake.AddImage("img:1", api.Image{})
	id, err := r.fake.Create(t.Context(), engine.CreateRequest{Name: "p-web-1", Spec: api.ContainerSpec{Image: "img:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.fake.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	op := plan.Op{Kind: plan.QuarantineRevision, LogsOf: id, Memory: &api.Rollout{Failed: &api.FailedUpdate{Revision: "r2", Message: "m"}}}
	if err := r.exec.Apply(t.Context(), op, r.target); err != nil {
		t.Fatal(err)
	}
	got := r.memory.rollouts["s"].Failed
	text := strings.Join(got.Log, "\n")
	if len(got.Log) == 0 || len(got.Log) > 12 || got.Log[len(got.Log)-1] != "the end" || len(text) > 12*400 {
		t.Errorf("log of %d lines, %d bytes: %q", len(got.Log), len(text), got.Log)
	}
	if strings.Contains(text, "half of it") || !strings.Contains(text, "***") {
		t.Errorf("the log has a secret: %q", text)
	}
	op.LogsOf = "gone"
	r.memory.full = errors.New("no space left on device")
	if err := r.exec.Apply(t.Context(), op, r.target); err == nil || !strings.Contains(err.Error(), "remember the rollout of stack s") {
		t.Errorf("a full disk: %v", err)
	}
	if f := r.cache.Snapshot().Rollouts["s"].Failed; f == nil || f.Revision != "r2" || f.Log != nil {
		t.Errorf("a full disk forgets the quarantine: %+v", f)
	}
}
