package observe_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/api"
)

func TestFactsStayWithTheContainer(t *testing.T) {
	inBubble(t, observe.Config{Relist: time.Minute}, func(t *testing.T, r *rig) {
		id := r.run(t, "web", "p")
		synctest.Wait()
		if got := r.Snapshot().Containers[id].Facts.WritableBytes; got != -1 {
			t.Errorf("writable bytes are %d at first, want -1", got)
		}
		set := api.ContainerFacts{SpecHash: "v1:x", SecretDigest: "d", WritableBytes: 5, FilesCopied: true, BindDigests: map[string]string{"/a": "1"}}
		r.SetFacts(id, func(f *api.ContainerFacts) { *f = set })
		steps := map[string]func() error{
			"event":    func() error { return r.hand.Pause(id) },
			"restart":  func() error { return errors.Join(r.hand.Unpause(id), r.hand.End(id, 0), r.hand.Start(id)) },
			"refresh":  func() error { return r.Refresh(t.Context(), id) },
			"relist":   func() error { settle(2 * time.Minute); return nil },
			"recovery": func() error { r.fake.Crash(); r.fake.Recover(enginetest.LiveRestore); settle(time.Minute); return nil },
		}
		for _, name := range []string{"event", "restart", "refresh", "relist", "recovery"} {
			if err := steps[name](); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if diff := cmp.Diff(set, r.Snapshot().Containers[id].Facts); diff != "" {
				t.Errorf("facts after %s (-want +got):\n%s", name, diff)
			}
		}
		r.SetFacts(id, func(f *api.ContainerFacts) { f.BindDigests["/b"] = "2" })
		if len(set.BindDigests) != 1 {
			t.Error("a change of facts wrote into an older snapshot's map")
		}
		if err := r.hand.Remove(id); err != nil {
			t.Fatal(err)
		}
		again := r.run(t, "web", "p")
		synctest.Wait()
		if got := r.Snapshot().Containers[again].Facts; got.SpecHash != "" || got.WritableBytes != -1 {
			t.Errorf("a new container got the facts of its predecessor: %+v", got)
		}
	})
}

func TestFactsBeforeTheContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(observe.Config{Relist: time.Minute})
		id := r.run(t, "web", "p")
		r.SetFacts(id, func(f *api.ContainerFacts) { f.SpecHash = "adopted" })
		r.SetFacts("never", func(f *api.ContainerFacts) { f.SpecHash = "of nobody" })
		start(t, r)
		if got := r.Snapshot().Containers[id].Facts; got.SpecHash != "adopted" || got.WritableBytes != -1 {
			t.Errorf("facts that were set before the first list: %+v", got)
		}
	})
}

// TestFactsDuringAList sets facts of a container that was made after the list was read.
func TestFactsDuringAList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(observe.Config{Relist: time.Minute})
		r.fake.AfterCall = func(method, _ string) error {
			if method == "List" {
				time.Sleep(time.Second)
			}
			return nil
		}
		start(t, r)
		r.fake.DropEvents(1000)
		settle(61500 * time.Millisecond)
		id := r.run(t, "web", "p")
		r.SetFacts(id, func(f *api.ContainerFacts) { f.FilesCopied = true })
		settle(time.Second)
		if err := r.Refresh(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if !r.Snapshot().Containers[id].Facts.FilesCopied {
			t.Error("a list that began before dropped facts of a container that it could not know")
		}
	})
}

func TestFactsRingOnlyForChanges(t *testing.T) {
	inBubble(t, observe.Config{}, func(t *testing.T, r *rig) {
		id := r.run(t, "web", "p")
		synctest.Wait()
		r.rings.take()
		for range 2 {
			r.SetFacts(id, func(f *api.ContainerFacts) { f.ProbedUnhealthy = true })
		}
		if got := r.rings.got; !slices.Equal(got, []string{"p"}) {
			t.Errorf("rang %q, want p once", got)
		}
	})
}

func TestOwnKnowledge(t *testing.T) {
	now := time.Unix(1000, 0)
	failure, hold, rollout := api.Failure{Count: 1}, api.Hold{Why: "because"}, api.Rollout{}
	tests := []struct {
		name string
		do   func(c *observe.Cache)
		ring []string
		want func(o *api.Observed) bool
	}{
		{"image", func(c *observe.Cache) { c.SetImage("a:1", &api.Image{ID: "x"}) }, []string{""}, func(o *api.Observed) bool { return o.Images["a:1"].ID == "x" }},
		{"image again", func(c *observe.Cache) { c.SetImage("a:1", &api.Image{ID: "x"}) }, nil, func(o *api.Observed) bool { return o.Images["a:1"].ID == "x" }},
		{"no image", func(c *observe.Cache) { c.SetImage("a:1", nil) }, []string{""}, func(o *api.Observed) bool { return o.Images["a:1"] == nil }},
		{"mount", func(c *observe.Cache) { c.SetMount("/m", api.MountState{OK: true}) }, []string{""}, func(o *api.Observed) bool { return o.Mounts["/m"].OK }},
		{
			"mount checked again", func(c *observe.Cache) { c.SetMount("/m", api.MountState{OK: true, CheckedAt: now}) }, nil,
			func(o *api.Observed) bool { return o.Mounts["/m"].CheckedAt.Equal(now) },
		},
		{"mount gone", func(c *observe.Cache) { c.SetMount("/m", api.MountState{}) }, []string{""}, func(o *api.Observed) bool { return !o.Mounts["/m"].OK }},
		{"failure", func(c *observe.Cache) { c.SetFailure("k", &failure) }, []string{""}, func(o *api.Observed) bool { return o.Failures["k"] == failure }},
		{"failure again", func(c *observe.Cache) { c.SetFailure("k", &failure) }, nil, func(o *api.Observed) bool { return o.Failures["k"] == failure }},
		{"no failure", func(c *observe.Cache) { c.SetFailure("k", nil) }, []string{""}, func(o *api.Observed) bool { return len(o.Failures) == 0 }},
		{"no failure again", func(c *observe.Cache) { c.SetFailure("k", nil) }, nil, func(o *api.Observed) bool { return len(o.Failures) == 0 }},
		{"job", func(c *observe.Cache) { c.SetJob(api.JobKey("p", "s", "n"), "h") }, []string{"p"}, func(o *api.Observed) bool { return o.Jobs["p/s/n"] == "h" }},
		{"job again", func(c *observe.Cache) { c.SetJob(api.JobKey("p", "s", "n"), "h") }, nil, func(o *api.Observed) bool { return o.Jobs["p/s/n"] == "h" }},
		{"no job", func(c *observe.Cache) { c.SetJob(api.JobKey("p", "s", "n"), "") }, []string{"p"}, func(o *api.Observed) bool { return len(o.Jobs) == 0 }},
		{"hold", func(c *observe.Cache) { c.SetHold("s", &hold) }, []string{""}, func(o *api.Observed) bool { return o.Holds["s"] == hold }},
		{"rollout", func(c *observe.Cache) { c.SetRollout("s", &rollout) }, []string{""}, func(o *api.Observed) bool { return o.Rollouts["s"] == &rollout }},
		{"rollout again", func(c *observe.Cache) { c.SetRollout("s", &rollout) }, nil, func(o *api.Observed) bool { return o.Rollouts["s"] == &rollout }},
		{"no rollout", func(c *observe.Cache) { c.SetRollout("s", nil) }, []string{""}, func(o *api.Observed) bool { return len(o.Rollouts) == 0 }},
		{"no hold", func(c *observe.Cache) { c.SetHold("s", nil) }, []string{""}, func(o *api.Observed) bool { return len(o.Holds) == 0 }},
	}
	r := newRig(observe.Config{})
	for _, test := range tests {
		r.rings.take()
		test.do(r.Cache)
		if got := r.rings.take(); !slices.Equal(got, test.ring) {
			t.Errorf("%s rang %q, want %q", test.name, got, test.ring)
		}
		if !test.want(r.Snapshot()) {
			t.Errorf("%s: snapshot does not show it", test.name)
		}
	}
}

// TestPullIsRemembered keeps an image that is pulled at each revision from being pulled
// for ever: its own pull event drops what is known of it.
func TestPullIsRemembered(t *testing.T) {
	r := newRig(observe.Config{})
	at := time.Unix(1000, 0)
	r.SetImage("a:1", &api.Image{ID: "x", PulledAt: at, PulledFor: "rev"})
	r.SetImage("a:1", nil)
	r.SetImage("a:1", &api.Image{ID: "x"})
	if got := r.Snapshot().Images["a:1"]; !got.PulledAt.Equal(at) || got.PulledFor != "rev" {
		t.Errorf("image is %+v, want the pull of revision rev remembered", got)
	}
	r.SetImage("b:1", &api.Image{ID: "x"})
	if got := r.Snapshot().Images["b:1"]; !got.PulledAt.IsZero() {
		t.Errorf("another image got the pull of %v", got.PulledAt)
	}
}
