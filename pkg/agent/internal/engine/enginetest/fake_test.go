package enginetest_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/api"
)

func newFake() *enginetest.Fake {
	fake := enginetest.New(1)
	fake.AddImage("app:1", api.Image{})
	return fake
}

func create(t *testing.T, fake *enginetest.Fake, name string, change ...func(*api.ContainerSpec)) string {
	t.Helper()
	r := engine.CreateRequest{Name: name, Spec: api.ContainerSpec{Image: "app:1"}}
	for _, do := range change {
		do(&r.Spec)
	}
	id, err := fake.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func run(t *testing.T, fake *enginetest.Fake, name string, change ...func(*api.ContainerSpec)) string {
	t.Helper()
	id := create(t, fake, name, change...)
	if err := fake.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return id
}

func policy(name string) func(*api.ContainerSpec) {
	return func(s *api.ContainerSpec) { s.Restart.Name = name }
}

func states(fake *enginetest.Fake) map[string]api.ContainerState {
	found := map[string]api.ContainerState{}
	for _, c := range fake.Truth().Containers {
		found[c.Name] = c.State
	}
	return found
}

// TestEngineRestart is what TESTING.md and the engine's documentation say of restart
// policies when dockerd itself goes away.
func TestEngineRestart(t *testing.T) {
	const running, exited, created = api.StateRunning, api.StateExited, api.StateCreated
	tests := map[string]struct {
		restart func(f *enginetest.Fake)
		want    map[string]api.ContainerState
	}{
		"crash without live-restore": {
			func(f *enginetest.Fake) { f.Crash(); f.Recover(enginetest.StopAll) },
			map[string]api.ContainerState{"no": exited, "always": running, "unless-stopped": exited, "stopped-always": running, "stopped-unless": exited, "never": created},
		},
		"crash with live-restore": {
			func(f *enginetest.Fake) { f.Crash(); f.Recover(enginetest.LiveRestore) },
			map[string]api.ContainerState{"no": running, "always": running, "unless-stopped": running, "stopped-always": running, "stopped-unless": exited, "never": created},
		},
		"reboot": {
			func(f *enginetest.Fake) { f.Reboot() },
			map[string]api.ContainerState{"no": exited, "always": running, "unless-stopped": running, "stopped-always": running, "stopped-unless": exited, "never": created},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				for _, name := range []string{"no", "always", "unless-stopped"} {
					run(t, fake, name, policy(name))
				}
				create(t, fake, "never", policy("always"))
				for name, restart := range map[string]string{"stopped-always": "always", "stopped-unless": "unless-stopped"} {
					id := run(t, fake, name, policy(restart))
					if err := fake.Stop(t.Context(), engine.StopRequest{ID: id}); err != nil {
						t.Fatal(err)
					}
				}
				test.restart(fake)
				synctest.Wait()
				if diff := cmp.Diff(test.want, states(fake)); diff != "" {
					t.Errorf("states (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestDeathWhileTheEngineIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		id := run(t, fake, "web", policy("unless-stopped"))
		fake.Crash()
		if err := fake.Hand().End(id, 9); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := states(fake)["web"]; got != api.StateExited {
			t.Errorf("state is %s while nobody is there to restart it", got)
		}
		fake.Recover(enginetest.LiveRestore)
		if got := states(fake)["web"]; got != api.StateRunning {
			t.Errorf("state is %s after the engine came back, want running", got)
		}
	})
}

// TestRestartBackOff measures the engine's own waits.
func TestRestartBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		var starts []time.Time
		fake.Program = func(*api.Container) enginetest.Program {
			starts = append(starts, time.Now())
			return enginetest.Program{Exits: true, Code: 1}
		}
		run(t, fake, "web", policy("always"))
		time.Sleep(time.Hour)
		synctest.Wait()
		var waits []time.Duration
		for i := range 12 {
			waits = append(waits, starts[i+1].Sub(starts[i]))
		}
		want := []time.Duration{}
		for d := 100 * time.Millisecond; len(want) < 12; d = min(2*d, time.Minute) {
			want = append(want, d)
		}
		if diff := cmp.Diff(want, waits); diff != "" {
			t.Errorf("waits between starts (-want +got):\n%s", diff)
		}
	})
}

func TestHooks(t *testing.T) {
	fake := newFake()
	boom := errors.New("agent died")
	var before, after []string
	fake.OnCall = func(method, object string) error {
		before = append(before, method+" "+object)
		if object == "prevented" {
			return boom
		}
		return nil
	}
	fake.AfterCall = func(method, object string) error {
		after = append(after, method+" "+object)
		if object == "hidden" {
			return boom
		}
		return nil
	}
	for _, name := range []string{"prevented", "hidden"} {
		_, err := fake.Create(t.Context(), engine.CreateRequest{Name: name, Spec: api.ContainerSpec{Image: "app:1"}})
		if !errors.Is(err, boom) {
			t.Errorf("create %s: %v", name, err)
		}
	}
	if diff := cmp.Diff(map[string]api.ContainerState{"hidden": api.StateCreated}, states(fake)); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Create prevented", "Create hidden"}, before); diff != "" {
		t.Errorf("calls before (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Create hidden"}, after); diff != "" {
		t.Errorf("calls after (-want +got):\n%s", diff)
	}
	if got := fake.Calls()["Create"]; got != 2 {
		t.Errorf("%d calls counted, want 2", got)
	}
	fake.ResetCalls()
	if got := fake.History(); len(got) != 0 {
		t.Errorf("calls after a reset: %v", got)
	}
}

func TestPulls(t *testing.T) {
	fake := newFake()
	fake.PublishImage("registry.test/private:1", api.Image{}, "user", "secret")
	published := fake.PublishImage("open:1", api.Image{}, "", "")
	fake.PublishImage("broken:1", api.Image{}, "", "")
	fake.FailPulls("broken:1", errors.New("connection reset"))
	tests := []struct {
		request engine.PullRequest
		want    error
		reason  api.Reason
	}{
		{engine.PullRequest{Ref: "open:1"}, nil, ""},
		{engine.PullRequest{Ref: "nothing:1"}, engine.ErrNotFound, api.ReasonImageMissing},
		{engine.PullRequest{Ref: "registry.test/private:1"}, engine.ErrDenied, api.ReasonImageDenied},
		{engine.PullRequest{Ref: "registry.test/private:1", Username: "user", Password: "secret"}, nil, ""},
		{engine.PullRequest{Ref: "broken:1"}, nil, api.ReasonImagePull},
	}
	for _, test := range tests {
		err := fake.Pull(t.Context(), test.request)
		if test.want != nil && !errors.Is(err, test.want) || (test.reason == "") != (err == nil) {
			t.Errorf("pull %s: %v, want %v", test.request.Ref, err, test.want)
		}
		if e, ok := errors.AsType[*engine.Error](err); ok && e.Reason != test.reason {
			t.Errorf("pull %s: reason %s, want %s", test.request.Ref, e.Reason, test.reason)
		}
	}
	for _, ref := range []string{"open:1", "docker.io/library/open:1", "open@" + published.Digest} {
		img, err := fake.InspectImage(t.Context(), ref, "")
		if err != nil || img.Digest != published.Digest {
			t.Errorf("inspect %s: %+v, %v", ref, img, err)
		}
	}
}

// TestSameSeedSameIDs runs one history twice.
func TestSameSeedSameIDs(t *testing.T) {
	history := func(seed uint64) (ids []string) {
		synctest.Test(t, func(t *testing.T) {
			fake := enginetest.New(seed)
			fake.AddImage("app:1", api.Image{Volumes: []string{"/data"}})
			for _, name := range []string{"a", "b", "a2"} {
				ids = append(ids, run(t, fake, name))
			}
			for _, v := range fake.Truth().Volumes {
				ids = append(ids, v.Name)
			}
		})
		return ids
	}
	if diff := cmp.Diff(history(1), history(1)); diff != "" {
		t.Errorf("ids differ between two runs of one seed:\n%s", diff)
	}
	if slices.Equal(history(1), history(2)) {
		t.Error("two seeds made the same ids")
	}
}

func TestPortsOfOthers(t *testing.T) {
	fake := newFake()
	id := create(t, fake, "web", func(s *api.ContainerSpec) {
		s.NetworkMode = "bridge"
		s.Ports = []api.Port{{Published: "8000-8001", Target: 80}}
	})
	fake.OccupyPort("8000/tcp")
	if err := fake.Start(t.Context(), id); err != nil {
		t.Errorf("start with one port of the range free: %v", err)
	}
	if err := fake.Stop(t.Context(), engine.StopRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
	fake.OccupyPort("8001/tcp")
	if err := fake.Start(t.Context(), id); !errors.Is(err, engine.ErrConflict) {
		t.Errorf("start with no port of the range free: %v", err)
	}
	fake.FreePort("8001/tcp")
	if err := fake.Start(t.Context(), id); err != nil {
		t.Errorf("start after a port was freed: %v", err)
	}
}

func TestMissingBindAfterReboot(t *testing.T) {
	fake := newFake()
	id := run(t, fake, "web", policy("always"), func(s *api.ContainerSpec) {
		s.Mounts = []api.Mount{{Type: api.MountBind, Source: "/tmp/gone", Target: "/x", Long: true}}
	})
	fake.RemovePath("/tmp/gone")
	fake.Reboot()
	c, err := fake.InspectContainer(t.Context(), id)
	if err != nil || c.State != api.StateExited || c.ExitCode != 127 || c.Error == "" {
		t.Errorf("container is %s(%d) %q, %v; want exited(127) and why", c.State, c.ExitCode, c.Error, err)
	}
	fake.MakePath("/tmp/gone")
	if err := fake.Start(t.Context(), id); err != nil {
		t.Error(err)
	}
}
