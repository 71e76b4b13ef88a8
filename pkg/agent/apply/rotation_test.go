package apply_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/apply"
	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

const keptRef = "op://v/i/pw"

// provided answers with one value.
type provided struct{ value string }

func (*provided) Name() string { return "test" }

func (p *provided) Resolve(context.Context, []string) (map[string]secrets.Result, error) {
	return map[string]secrets.Result{keptRef: {Value: secrets.NewValue(p.value)}}, nil
}

// noFolders is a delivery without any folder.
type noFolders struct{}

func (noFolders) Offer(string, string, string) error { return errors.New("no folders here") }
func (noFolders) Withdraw(string) error              { return nil }
func (noFolders) Texts(string) []string              { return nil }

// keptWorld is a container of Compose that has a password in its environment.
type keptWorld struct {
	t      *testing.T
	fake   *enginetest.Fake
	cache  *observe.Cache
	exec   *apply.Executor
	store  *secrets.Store
	target plan.Target
	stdin  string
	said   engine.ExecResult
}

// SetKept implements apply.Keeper.
func (w *keptWorld) SetKept(key string, kept api.Kept) error {
	w.cache.SetKept(key, kept)
	return nil
}

func newKeptWorld(t *testing.T, password, newest string) (w *keptWorld, stop func()) {
	w = &keptWorld{t: t, fake: enginetest.New(1), store: secrets.New(&provided{newest}, []byte("key"))}
	w.store.Needed(func(string, string) bool { return true })
	if err := w.store.Refresh(t.Context(), []string{keptRef}); err != nil {
		t.Fatal(err)
	}
	w.fake.AddImage("db:1", api.Image{})
	w.fake.Command = func(_ *api.Container, r engine.ExecRequest) engine.ExecResult {
		w.stdin = r.Stdin
		return w.said
	}
	_, err := w.fake.Hand().Run(engine.CreateRequest{
		Name: "p-db-1", Labels: map[string]string{api.LabelProject: "p", api.LabelService: "db", api.LabelNumber: "1"},
		Spec: api.ContainerSpec{Image: "db:1", Env: []string{"POSTGRES_PASSWORD=" + password}},
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	w.cache = observe.New(w.fake, observe.Config{Logger: log, ProcRoot: "/nonexistent"})
	w.exec = apply.New(apply.Config{
		Engine: w.fake, Cache: w.cache, World: w.cache, Memory: &memory{}, Secrets: w.store, Kept: w, Rotation: noFolders{}, Log: log,
	})
	w.target = plan.Target{Stack: &api.Stack{Name: "s", Project: "p"}, Desired: &api.Desired{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.cache.Run(ctx)
	}()
	synctest.Wait()
	return w, func() {
		cancel()
		<-done
	}
}

// op is an operation on the container.
func (w *keptWorld) op(kind plan.Kind) plan.Op {
	kept := &api.KeptSecret{Ref: keptRef, Variable: "PW", Exec: []string{"alter"}, Timeout: time.Second}
	newest := w.store.Digests()
	for id := range w.cache.Snapshot().Containers {
		return plan.Op{
			Kind: kind, Object: "p-db-1", ID: id, Service: "db", Kept: kept, Digest: newest[keptRef], Secrets: newest,
			Wanted: &api.Service{Name: "db", Keeps: []api.KeptSecret{*kept}},
			Replica: &api.Replica{
				Name: "p-db-1", SecretRefs: []string{keptRef},
				Spec: api.ContainerSpec{Env: []string{"POSTGRES_PASSWORD=" + api.Placeholder(keptRef)}},
			},
		}
	}
	w.t.Fatal("no container")
	return plan.Op{}
}

func (w *keptWorld) kept() api.Kept {
	return w.cache.Snapshot().Kept[api.KeptKey("p", "p-db-1", keptRef)]
}

// TestLearnKept: what a container of Compose got is read off its environment, and is at
// hand from then on, so that a vault with another password locks nobody out.
func TestLearnKept(t *testing.T) {
	for _, newest := range []string{"of the container", "of the vault only"} {
		synctest.Test(t, func(t *testing.T) {
			w, stop := newKeptWorld(t, "of the container", newest)
			defer stop()
			if err := w.exec.Apply(t.Context(), w.op(plan.LearnKept), w.target); err != nil {
				t.Fatal(err)
			}
			accepted := w.kept().Accepted
			if value, found := w.store.OpenAs(keptRef, accepted); !found || value.Open() != "of the container" {
				t.Errorf("accepted %q, at hand %t", accepted, found)
			}
		})
	}
}

// TestRotate: the command gets the new value as its input; what it says is told without
// the values, however short they are, and nothing counts as accepted before it worked.
func TestRotate(t *testing.T) {
	cases := map[string]struct {
		newest, said string
		code         int
		told, hidden string
	}{
		"works":       {"the-new-password", "", 0, "", ""},
		"fails":       {"the-new-password", "role\n does not exist, the-new-password", 3, "exit code 3: role does not exist, [redacted]", "the-new"},
		"short value": {"k9z", "k9z, azl6", 1, "not shown", "k9z"},
		"says a lot":  {"the-new-password", strings.Repeat("x", 4096-8) + "the-new-", 1, "…xxx", "the-new"},
	}
	for name, c := range cases {
		synctest.Test(t, func(t *testing.T) {
			w, stop := newKeptWorld(t, "the-old-password", c.newest)
			defer stop()
			w.said = engine.ExecResult{Output: c.said, ExitCode: c.code}
			op := w.op(plan.Rotate)
			err := w.exec.Apply(t.Context(), op, w.target)
			if w.stdin != c.newest {
				t.Errorf("%s: the input is %q", name, w.stdin)
			}
			if c.code == 0 {
				if err != nil || w.kept() != (api.Kept{Accepted: op.Digest, Since: time.Now().UTC()}) {
					t.Errorf("%s: %v, kept %+v", name, err, w.kept())
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.told) || strings.Contains(err.Error(), c.hidden) {
				t.Errorf("%s: %v, want %q and not %q", name, err, c.told, c.hidden)
			}
			if w.kept() != (api.Kept{Tried: op.Digest}) {
				t.Errorf("%s: kept %+v", name, w.kept())
			}
		})
	}
}
