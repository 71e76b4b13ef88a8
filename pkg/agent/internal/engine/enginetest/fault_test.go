package enginetest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/api"
)

func TestCrashedEngineRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		events, errs := fake.Events(t.Context(), time.Time{})
		synctest.Wait()
		fake.Crash()
		if err := <-errs; !errors.Is(err, engine.ErrUnreachable) {
			t.Errorf("the stream ended with %v", err)
		}
		if _, open := <-events; open {
			t.Error("the stream is still open")
		}
		if _, err := fake.List(t.Context()); !errors.Is(err, engine.ErrUnreachable) {
			t.Errorf("list of a crashed engine: %v", err)
		}
	})
}

func TestCrashDuringACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		id := run(t, fake, "web", func(s *api.ContainerSpec) { s.Command = []string{"stubborn"} })
		stopped := make(chan error, 1)
		go func() { stopped <- fake.Stop(t.Context(), engine.StopRequest{ID: id}) }()
		time.Sleep(time.Second)
		fake.Crash()
		if err := <-stopped; !errors.Is(err, engine.ErrUnreachable) {
			t.Errorf("stop that the engine did not survive: %v", err)
		}
	})
}

func TestHungEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.Hang()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := fake.Info(ctx); !errors.Is(err, engine.ErrTimeout) || time.Since(began) != 10*time.Second {
			t.Errorf("call of a hung engine ended after %s with %v", time.Since(began), err)
		}
		answered := make(chan error, 1)
		go func() { _, err := fake.Info(t.Context()); answered <- err }()
		time.Sleep(time.Minute)
		fake.Resume()
		if err := <-answered; err != nil {
			t.Errorf("call that waited for the engine: %v", err)
		}
	})
}

func TestHungMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.HangMount("/mnt/share")
		id := create(t, fake, "web", func(s *api.ContainerSpec) {
			s.Mounts = []api.Mount{{Type: api.MountBind, Source: "/mnt/share/data", Target: "/data", CreateHostPath: true}}
		})
		if _, err := fake.InspectContainer(t.Context(), id); err != nil {
			t.Fatalf("inspection before the start: %v", err)
		}
		calls := map[string]func(context.Context) error{
			"start":   func(ctx context.Context) error { return fake.Start(ctx, id) },
			"inspect": func(ctx context.Context) error { _, err := fake.InspectContainer(ctx, id); return err },
			"remove":  func(ctx context.Context) error { return fake.Remove(ctx, id) },
		}
		for _, name := range []string{"start", "inspect", "remove"} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if err := calls[name](ctx); !errors.Is(err, engine.ErrTimeout) {
				t.Errorf("%s of a container on a dead share: %v", name, err)
			}
			cancel()
		}
		run(t, fake, "other")
		list, err := fake.List(t.Context())
		if err != nil || len(list.Containers) != 2 || !list.Containers[0].Facts.Unresponsive || list.Containers[1].Facts.Unresponsive {
			t.Errorf("list beside a hung container: %v, %v", list.Containers, err)
		}
		fake.HealMount("/mnt/share")
		fake.Thaw(id)
		if err := fake.Start(t.Context(), id); err != nil {
			t.Errorf("start after the share came back: %v", err)
		}
	})
}

func TestEventFaults(t *testing.T) {
	faults := map[string]struct {
		set  func(f *enginetest.Fake)
		want []string
	}{
		"none":     {func(*enginetest.Fake) {}, []string{"create", "start", "oom", "die"}},
		"dropped":  {func(f *enginetest.Fake) { f.DropEvents(3) }, []string{"die"}},
		"repeated": {func(f *enginetest.Fake) { f.RepeatEvents(1) }, []string{"create", "create", "start", "oom", "die"}},
		"filtered": {
			func(f *enginetest.Fake) { f.FilterEvents(func(ev engine.Event) bool { return ev.Action != "die" }) },
			[]string{"create", "start", "oom"},
		},
		"held back": {func(f *enginetest.Fake) { f.ShuffleEvents(10) }, nil},
		"healed": {
			func(f *enginetest.Fake) {
				f.DropEvents(3)
				f.FilterEvents(func(engine.Event) bool { return false })
				f.HealEvents()
			},
			[]string{"create", "start", "oom", "die"},
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				parent := run(t, fake, "parent")
				ctx, cancel := context.WithCancel(t.Context())
				events, errs := fake.Events(ctx, time.Time{})
				synctest.Wait()
				fault.set(fake)
				id := run(t, fake, "web", func(s *api.ContainerSpec) { s.NetworkMode = "container:" + parent })
				if err := fake.Hand().EndOOM(id); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				cancel()
				var seen []string
				for ev := range events {
					if ev.ID == id {
						seen = append(seen, ev.Action)
					}
				}
				if err := <-errs; !errors.Is(err, context.Canceled) {
					t.Errorf("the stream ended with %v", err)
				}
				if diff := cmp.Diff(fault.want, seen); diff != "" {
					t.Errorf("actions (-want +got):\n%s", diff)
				}
			})
		})
	}
}
