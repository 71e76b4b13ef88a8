package observe_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/api"
)

func TestEventsRingTheProject(t *testing.T) {
	inBubble(t, observe.Config{}, func(t *testing.T, r *rig) {
		id := r.run(t, "web", "p")
		steps := []struct {
			name string
			do   func() error
			want []string
		}{
			{"pause", func() error { return r.hand.Pause(id) }, []string{"p"}},
			{"unpause", func() error { return r.hand.Unpause(id) }, []string{"p"}},
			{"rename", func() error { return r.hand.Rename(id, "other") }, []string{"p"}},
			{"end", func() error { return r.hand.End(id, 3) }, []string{"p"}},
			{"start", func() error { return r.hand.Start(id) }, []string{"p"}},
			{"kill", func() error { return r.hand.Kill(id) }, []string{"p"}},
			{"remove", func() error { return r.hand.Remove(id) }, []string{"p"}},
			{"foreign container", func() error { _, err := r.hand.Run(request("foreign", "")); return err }, []string{""}},
			{"network", func() error { _, err := r.hand.CreateNetwork(api.NetworkSpec{Name: "n"}); return err }, []string{""}},
			{"volume", func() error { return r.hand.CreateVolume(api.Volume{Name: "v"}) }, []string{""}},
			{"network gone", func() error { return r.hand.RemoveNetwork("n") }, []string{""}},
			{"volume gone", func() error { return r.hand.RemoveVolume("v") }, []string{""}},
		}
		synctest.Wait()
		for _, step := range steps {
			r.rings.take()
			if err := step.do(); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			synctest.Wait()
			if got := r.rings.take(); !slices.Equal(got, step.want) {
				t.Errorf("%s rang %q, want %q", step.name, got, step.want)
			}
			r.requireTruth(t)
		}
	})
}

func TestProbesRingNobodyAndCostNothing(t *testing.T) {
	inBubble(t, observe.Config{}, func(t *testing.T, r *rig) {
		req := request("web", "p")
		req.Spec.Healthcheck = &api.Healthcheck{Test: []string{"CMD", "true"}, Interval: time.Second}
		id, err := r.hand.Run(req)
		if err != nil {
			t.Fatal(err)
		}
		settle(1500 * time.Millisecond)
		if got := r.Snapshot().Containers[id].Health; got != api.HealthHealthy {
			t.Fatalf("health is %q after the first probe, want healthy: health_status was missed", got)
		}
		r.fake.ResetCalls()
		r.rings.take()
		for range 20 {
			if _, err := r.fake.Exec(t.Context(), engine.ExecRequest{ID: id, Command: []string{"true"}}); err != nil {
				t.Fatal(err)
			}
		}
		settle(time.Minute)
		if got := r.rings.take(); len(got) > 0 {
			t.Errorf("probes rang %q", got)
		}
		calls := r.fake.Calls()
		delete(calls, "Exec")
		if len(calls) > 0 {
			t.Errorf("the engine was called while nothing changed: %v", calls)
		}
	})
}

func TestHealthChangesRing(t *testing.T) {
	inBubble(t, observe.Config{}, func(t *testing.T, r *rig) {
		req := request("web", "p")
		req.Spec.Healthcheck = &api.Healthcheck{Test: []string{"CMD", "true"}, Interval: time.Second, Retries: 2}
		r.fake.SetHealth("web", true, false)
		id, err := r.hand.Run(req)
		if err != nil {
			t.Fatal(err)
		}
		settle(1500 * time.Millisecond)
		r.rings.take()
		settle(2 * time.Second)
		if got := r.Snapshot().Containers[id].Health; got != api.HealthUnhealthy {
			t.Errorf("health is %q after two failures, want unhealthy", got)
		}
		if got := r.rings.take(); !slices.Equal(got, []string{"p"}) {
			t.Errorf("rang %q, want p", got)
		}
	})
}

func TestImagesBecomeStale(t *testing.T) {
	refs := []string{"app:1", "docker.io/library/app:2", "db:1", "gone:1"}
	tests := []struct {
		name string
		do   func(r *rig) error
		kept []string
	}{
		{"pull marks its repository and what was missing", func(r *rig) error {
			r.fake.PublishImage("app:2", api.Image{}, "", "")
			return r.fake.Pull(context.Background(), engine.PullRequest{Ref: "app:2"}) //nolint:usetesting // no test at hand
		}, []string{"db:1"}},
		{"tag marks all", func(r *rig) error { return r.hand.Tag("app:1", "db:1") }, nil},
		{"untag marks all", func(r *rig) error { return r.hand.RemoveImage("app:1") }, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, observe.Config{}, func(t *testing.T, r *rig) {
				for _, ref := range refs {
					r.SetImage(ref, &api.Image{ID: ref, Missing: ref == "gone:1"})
				}
				r.rings.take()
				if err := test.do(r); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				var kept []string
				for ref, img := range r.Snapshot().Images {
					if !img.Stale {
						kept = append(kept, ref)
					}
				}
				if got := len(r.Snapshot().Images); got != len(refs) {
					t.Errorf("%d images are known, want all %d", got, len(refs))
				}
				if !slices.Equal(kept, test.kept) {
					t.Errorf("kept %q, want %q", kept, test.kept)
				}
				if got := r.rings.take(); !slices.Equal(got, []string{""}) {
					t.Errorf("rang %q, want everybody", got)
				}
			})
		})
	}
}

func TestRelistFindsLostEvents(t *testing.T) {
	inBubble(t, observe.Config{Relist: time.Minute}, func(t *testing.T, r *rig) {
		kept := r.run(t, "kept", "p")
		gone := r.run(t, "gone", "p")
		synctest.Wait()
		r.rings.take()
		r.fake.DropEvents(1000)
		r.run(t, "new", "p")
		if err := errors.Join(r.hand.Remove(gone), r.hand.End(kept, 4)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if r.difference() == "" {
			t.Fatal("the events were not lost")
		}
		settle(2 * time.Minute)
		r.requireTruth(t)
		if got := r.rings.take(); !slices.Equal(got, []string{""}) {
			t.Errorf("rang %q, want everybody", got)
		}
	})
}

func TestRelistOfTheSameRingsNobody(t *testing.T) {
	inBubble(t, observe.Config{Relist: time.Minute}, func(t *testing.T, r *rig) {
		r.run(t, "web", "p")
		synctest.Wait()
		r.rings.take()
		before := r.Snapshot()
		settle(10 * time.Minute)
		if got := r.rings.take(); len(got) > 0 {
			t.Errorf("rang %q", got)
		}
		if r.Snapshot() != before {
			t.Error("a snapshot was published although nothing changed")
		}
		if got := r.fake.Calls()["List"]; got < 10 {
			t.Errorf("%d lists in ten minutes, want one each", got)
		}
	})
}

func TestBadDelivery(t *testing.T) {
	faults := map[string]func(r *rig){
		"twice":    func(r *rig) { r.fake.RepeatEvents(1000) },
		"shuffled": func(r *rig) { r.fake.ShuffleEvents(1000) },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			inBubble(t, observe.Config{Relist: time.Hour}, func(t *testing.T, r *rig) {
				fault(r)
				for i := range 5 {
					id := r.run(t, fmt.Sprintf("web%d", i), "p")
					var err error
					switch i {
					case 1:
						err = r.hand.Remove(id)
					case 2:
						err = r.hand.End(id, 1)
					case 3:
						err = errors.Join(r.hand.Kill(id), r.hand.Start(id))
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				r.fake.HealEvents()
				synctest.Wait()
				r.requireTruth(t)
			})
		})
	}
}
