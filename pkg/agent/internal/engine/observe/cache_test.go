package observe_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/api"
)

const image = "app:1"

// rig is a cache on a fake engine inside a synctest bubble.
type rig struct {
	*observe.Cache
	fake  *enginetest.Fake
	hand  enginetest.Hand
	rings *rings
}

// inBubble runs test on a fake whose cache was started and is quiet.
func inBubble(t *testing.T, cfg observe.Config, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(cfg)
		start(t, r)
		test(t, r)
	})
}

func newRig(cfg observe.Config) *rig {
	fake := enginetest.New(1)
	fake.AddImage(image, api.Image{})
	r := &rig{Cache: observe.New(fake, cfg), fake: fake, hand: fake.Hand(), rings: &rings{}}
	r.Subscribe(r.rings.ring)
	return r
}

func (r *rig) run(t *testing.T, name, project string) string {
	t.Helper()
	id, err := r.hand.Run(request(name, project))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func request(name, project string) engine.CreateRequest {
	req := engine.CreateRequest{Name: name, Spec: api.ContainerSpec{Image: image}}
	if project != "" {
		req.Labels = map[string]string{api.LabelProject: project}
	}
	return req
}

// settle waits until d passed and everything that it caused has happened.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// requireTruth fails unless the snapshot is what the engine holds.
func (r *rig) requireTruth(t *testing.T) {
	t.Helper()
	if diff := r.difference(); diff != "" {
		t.Fatalf("snapshot differs from the engine (-engine +snapshot):\n%s", diff)
	}
}

func (r *rig) difference() string {
	truth := r.fake.Truth()
	want := &api.Observed{Containers: map[string]*api.Container{}, Networks: map[string]*api.Network{}, Volumes: map[string]*api.Volume{}}
	for _, c := range truth.Containers {
		want.Containers[c.ID] = c
	}
	for _, n := range truth.Networks {
		want.Networks[n.ID] = n
	}
	for _, v := range truth.Volumes {
		want.Volumes[v.Name] = v
	}
	got := r.Snapshot()
	// Whose doing an end was is the cache's own knowledge: TestInterrupted.
	own := cmpopts.IgnoreFields(api.ContainerFacts{}, "Interrupted", "HealthyAt")
	return cmp.Diff(want, &api.Observed{Containers: got.Containers, Networks: got.Networks, Volumes: got.Volumes}, own)
}

func TestFirstListIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(observe.Config{})
		r.run(t, "before", "p")
		if r.Snapshot().Complete {
			t.Error("complete before the first list")
		}
		start(t, r)
		if !r.Snapshot().Complete {
			t.Error("not complete after the first list")
		}
		r.requireTruth(t)
		r.run(t, "after", "p")
		synctest.Wait()
		r.requireTruth(t)
	})
}

// start runs the cache until the end of the test and waits for its first list.
func start(t *testing.T, r *rig) {
	t.Helper()
	runUntilEnd(t, r.Cache)
	synctest.Wait()
}

// runUntilEnd runs a cache until the end of the test, which waits for its end.
func runUntilEnd(tb testing.TB, cache *observe.Cache) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- cache.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			tb.Errorf("Run returned %v, want %v", err, context.Canceled)
		}
	})
}
