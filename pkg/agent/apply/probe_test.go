package apply_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/apply"
	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// blackHole is a Checker that gets no answer before it is closed, as from an address that
// nobody has.
type blackHole chan struct{}

func (b blackHole) Check(ctx context.Context, _ string, p api.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	select {
	case <-b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestProbeAfterSilence: however long a check waited in vain, once it can succeed it is
// tried again within ten seconds. An engine that is killed and started again by systemd
// hangs for a while, since systemd holds its socket.
func TestProbeAfterSilence(t *testing.T) {
	const soon = 10 * time.Second
	for _, silence := range []time.Duration{time.Second, 12 * time.Second, 35 * time.Second, 95 * time.Second, 10 * time.Minute} {
		for name, service := range map[string]*api.Service{
			"the container's healthcheck": {},
			"a probe by HTTP":             {Probe: &api.Probe{HTTP: &api.HTTPProbe{Port: 3000}, Timeout: 3 * time.Second}},
		} {
			t.Run(name+" after "+silence.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newProbedWorld(t)
					defer w.stop()
					w.fake.Hang()
					ended := make(chan error, 1)
					go func() {
						ended <- w.exec.Apply(t.Context(), plan.Op{Kind: plan.Probe, ID: w.id, Wanted: service}, plan.Target{})
					}()
					time.Sleep(silence)
					w.fake.Resume()
					close(w.hole)
					began := time.Now()
					if err := <-ended; err != nil {
						t.Error(err)
					}
					if took := time.Since(began); took > soon {
						t.Errorf("it was tried again %s after it could succeed, wanted within %s", took, soon)
					}
					if c := w.cache.Snapshot().Containers[w.id]; !c.Facts.ProbedHealthy.Equal(c.StartedAt) {
						t.Error("the container does not count as healthy")
					}
				})
			})
		}
	}
}

// probedWorld is a container whose healthcheck takes thirty seconds to be given up, and
// that is reached over the host's network.
type probedWorld struct {
	fake  *enginetest.Fake
	hole  blackHole
	cache *observe.Cache
	exec  *apply.Executor
	id    string
	stop  func()
}

func newProbedWorld(t *testing.T) *probedWorld {
	t.Helper()
	w := &probedWorld{fake: enginetest.New(1), hole: make(blackHole)}
	w.fake.AddImage("web:1", api.Image{})
	var err error
	w.id, err = w.fake.Hand().Run(engine.CreateRequest{Name: "web", Spec: api.ContainerSpec{
		Image: "web:1", NetworkMode: "host", Healthcheck: &api.Healthcheck{Test: []string{"CMD", "true"}, Interval: time.Hour},
	}})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	w.cache = observe.New(w.fake, observe.Config{Logger: log, ProcRoot: "/nonexistent"})
	w.exec = apply.New(apply.Config{Engine: w.fake, Cache: w.cache, World: w.cache, Checker: w.hole, Log: log})
	w.stop = runCache(t, w.cache)
	return w
}

// runCache lets a cache observe until stop.
func runCache(t *testing.T, cache *observe.Cache) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cache.Run(ctx)
	}()
	synctest.Wait()
	return func() { cancel(); <-done }
}
