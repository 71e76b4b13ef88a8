package enginetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

func lifeChecks() []check {
	return []check{
		{"lifecycle", checkLifecycle},
		{"names are unique", checkNames},
		{"rename", checkRename},
		{"events in order", checkEvents},
		{"events since", checkEventsSince},
		{"past events", checkPastEvents},
		{"pause", checkPause},
		{"restart", checkRestart},
		{"update", checkUpdate},
		{"list is complete", checkList},
		{"health", checkHealth},
		{"engine", checkInfo},
	}
}

func checkLifecycle(t *testing.T, s *Subject) {
	ctx := t.Context()
	id := s.create(t, s.request("web"))
	made := s.inspect(t, id)
	equal(t, "state after create", made.State, api.StateCreated)
	equal(t, "pid after create", made.Pid, 0)
	equal(t, "name", made.Name, s.Prefix+"web")
	equal(t, "label", made.Labels[api.LabelProject], s.Prefix+"project")
	equal(t, "image reference", made.Image, s.Image)
	equal(t, "start before the first", made.StartedAt.IsZero(), true)
	equal(t, "writable bytes before they are measured", made.Facts.WritableBytes, -1)

	require(t, s.Start(ctx, id))
	started := s.inspect(t, id)
	equal(t, "state after start", started.State, api.StateRunning)
	equal(t, "has a pid", started.Pid > 0, true)
	equal(t, "started after it was created", started.StartedAt.Before(made.Created), false)
	require(t, s.Start(ctx, id))
	equal(t, "start of what runs", s.inspect(t, id).StartedAt.Equal(started.StartedAt), true)

	s.settle(t, id)
	require(t, s.Stop(ctx, engine.StopRequest{ID: id}))
	stopped := s.inspect(t, id)
	equal(t, "state after stop", stopped.State, api.StateExited)
	equal(t, "exit code", stopped.ExitCode, 0)
	equal(t, "pid after stop", stopped.Pid, 0)
	equal(t, "finished after it was started", stopped.FinishedAt.Before(stopped.StartedAt), false)
	require(t, s.Stop(ctx, engine.StopRequest{ID: id}))

	require(t, s.Start(ctx, id))
	equal(t, "second start is a later one", s.inspect(t, id).StartedAt.After(started.StartedAt), true)
	require(t, s.Remove(ctx, id))
	_, err := s.InspectContainer(ctx, id)
	requireError(t, err, engine.ErrNotFound, "")
	require(t, s.Remove(ctx, id))
}

func checkNames(t *testing.T, s *Subject) {
	ctx := t.Context()
	id := s.create(t, s.request("one"))
	_, err := s.Create(ctx, s.request("one"))
	requireError(t, err, engine.ErrConflict, api.ReasonNameConflict)
	require(t, s.Remove(ctx, id))
	if again := s.create(t, s.request("one")); again == id {
		t.Error("a new container got the id of a removed one")
	}
}

func checkRename(t *testing.T, s *Subject) {
	ctx := t.Context()
	id, other := s.create(t, s.request("one")), s.create(t, s.request("two"))
	requireError(t, s.Rename(ctx, id, s.Prefix+"two"), engine.ErrConflict, api.ReasonNameConflict)
	require(t, s.Rename(ctx, id, s.Prefix+"one"))
	require(t, s.Rename(ctx, id, s.Prefix+"three"))
	equal(t, "name", s.inspect(t, id).Name, s.Prefix+"three")
	require(t, s.Rename(ctx, other, s.Prefix+"one"))
}

func checkEvents(t *testing.T, s *Subject) {
	ctx := t.Context()
	seen := s.follow(t, time.Now().Add(-time.Second))
	id := s.run(t, s.request("web"))
	s.settle(t, id)
	require(t, s.Stop(ctx, engine.StopRequest{ID: id}))
	require(t, s.Start(ctx, id))
	require(t, s.Kill(ctx, id))
	s.awaitState(t, id, api.StateExited)
	require(t, s.Start(ctx, id))
	require(t, s.Rename(ctx, id, s.Prefix+"renamed"))
	require(t, s.Remove(ctx, id))
	want := []string{
		"create", "start", "kill", "die", "stop",
		"start", "kill", "die",
		"start", "rename", "kill", "die", "destroy",
	}
	var got []string
	eventually(t, "event destroy", func() bool {
		got = slices.DeleteFunc(slices.Clone(seen()), func(action string) bool { return strings.HasPrefix(action, "exec_") })
		return len(got) >= len(want)
	})
	// Engines tell of the stop when they know that the process has ended, some of them
	// before they tell of its death: 20.10 after it, 26.1 and 28.5 before.
	if at := slices.Index(got, "stop"); at >= 0 && at+1 < len(got) && got[at+1] == "die" {
		got[at], got[at+1] = "die", "stop"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
}

func checkEventsSince(t *testing.T, s *Subject) {
	before := time.Now().Add(-50 * time.Millisecond)
	id := s.create(t, s.request("web"))
	seen := s.follow(t, before)
	eventually(t, "event that is past", func() bool { return len(seen()) == 1 })
	require(t, s.Remove(t.Context(), id))
	eventually(t, "event to come", func() bool { return len(seen()) == 2 })
	if diff := cmp.Diff([]string{"create", "destroy"}, seen()); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
}

// checkPastEvents: the engine tells of ends that nobody has listened to.
func checkPastEvents(t *testing.T, s *Subject) {
	id := s.run(t, s.request("web"))
	require(t, s.Stop(t.Context(), engine.StopRequest{ID: id}))
	var past []string
	eventually(t, "end in the history", func() bool {
		events, err := s.PastEvents(t.Context())
		require(t, err)
		past = nil
		for _, ev := range events {
			if ev.ID == id && ev.Type == "container" {
				past = append(past, ev.Action)
			}
		}
		return slices.Contains(past, "die") && slices.Contains(past, "stop")
	})
	if slices.Index(past, "kill") < 0 || slices.Index(past, "kill") > slices.Index(past, "die") {
		t.Errorf("history of a stopped container: %v", past)
	}
}

func checkPause(t *testing.T, s *Subject) {
	ctx := t.Context()
	id := s.run(t, s.request("web"))
	require(t, s.Unpause(ctx, id))
	require(t, s.Pause(ctx, id))
	equal(t, "state", s.inspect(t, id).State, api.StatePaused)
	_, err := s.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{Prog, "print"}})
	requireError(t, err, engine.ErrConflict, "")
	requireError(t, s.Start(ctx, id), engine.ErrConflict, "")
	require(t, s.Unpause(ctx, id))
	equal(t, "state", s.inspect(t, id).State, api.StateRunning)
}

func checkRestart(t *testing.T, s *Subject) {
	ctx := t.Context()
	id := s.run(t, s.request("web"))
	first := s.inspect(t, id)
	require(t, s.Restart(ctx, engine.StopRequest{ID: id}))
	second := s.inspect(t, id)
	equal(t, "state", second.State, api.StateRunning)
	equal(t, "started again", second.StartedAt.After(first.StartedAt), true)
	equal(t, "restarts by the engine", second.Restarts, 0)
	require(t, s.Stop(ctx, engine.StopRequest{ID: id}))
	require(t, s.Restart(ctx, engine.StopRequest{ID: id}))
	equal(t, "state", s.inspect(t, id).State, api.StateRunning)
}

func checkUpdate(t *testing.T, s *Subject) {
	r := s.request("web")
	r.Spec.Resources = api.Resources{Memory: 64 << 20, MemorySwap: 128 << 20}
	id := s.run(t, r)
	require(t, s.Update(t.Context(), engine.UpdateRequest{
		ID: id, Resources: api.Resources{Memory: 96 << 20}, Restart: api.RestartPolicy{Name: "on-failure", MaxRetries: 4},
	}))
	got := s.inspect(t, id).Spec
	equal(t, "memory", got.Resources.Memory, 96<<20)
	equal(t, "swap that was not mentioned", got.Resources.MemorySwap, 128<<20)
	equal(t, "policy", got.Restart, api.RestartPolicy{Name: "on-failure", MaxRetries: 4})
	require(t, s.Update(t.Context(), engine.UpdateRequest{ID: id}))
	got = s.inspect(t, id).Spec
	equal(t, "memory that was not mentioned", got.Resources.Memory, 96<<20)
	equal(t, "no policy", got.Restart, api.RestartPolicy{Name: "no"})
}

func checkList(t *testing.T, s *Subject) {
	ctx := t.Context()
	network := s.network(t, "net")
	require(t, s.CreateVolume(ctx, api.VolumeSpec{Name: s.Prefix + "vol"}, s.owner()))
	created, running := s.create(t, s.request("created")), s.run(t, s.request("running"))
	ended := s.run(t, s.request("ended", "exit", "0"))
	s.awaitState(t, ended, api.StateExited)
	list, err := s.List(ctx)
	require(t, err)
	found := map[string]*api.Container{}
	for _, c := range list.Containers {
		found[c.ID] = c
	}
	for _, id := range []string{created, running, ended} {
		if diff := cmp.Diff(s.inspect(t, id), found[id]); diff != "" {
			t.Errorf("list differs from inspection (-inspected +listed):\n%s", diff)
		}
	}
	names := map[string]bool{}
	for _, n := range list.Networks {
		names[n.ID] = true
	}
	for _, v := range list.Volumes {
		names[v.Name] = true
	}
	equal(t, "network is listed", names[network], true)
	equal(t, "volume is listed", names[s.Prefix+"vol"], true)
}

func checkHealth(t *testing.T, s *Subject) {
	ctx := t.Context()
	healthcheck := func(command ...string) *api.Healthcheck {
		return &api.Healthcheck{Test: append([]string{"CMD", Prog}, command...), Interval: time.Second, Timeout: 5 * time.Second, Retries: 2}
	}
	r := s.request("sick")
	r.Spec.Healthcheck = healthcheck("exists", "/tmp/ok")
	var before time.Time
	id := s.create(t, r)
	s.startsUnprobed(t, id, r.Spec.Healthcheck.Interval, func() {
		before = time.Now()
		require(t, s.Restart(ctx, engine.StopRequest{ID: id}))
	})
	eventually(t, "unhealthy", func() bool { return s.inspect(t, id).Health == api.HealthUnhealthy })
	if took := time.Since(before); took < 2*time.Second {
		t.Errorf("unhealthy after %s although two probes have to fail, one second apart", took)
	}
	seen := s.follow(t, time.Now())
	if _, err := s.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{Prog, "touch", "/tmp/ok"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "healthy", func() bool { return s.inspect(t, id).Health == api.HealthHealthy })
	eventually(t, "event health_status", func() bool { return slices.Contains(seen(), "health_status") })
	s.startsUnprobed(t, id, r.Spec.Healthcheck.Interval, func() { require(t, s.Restart(ctx, engine.StopRequest{ID: id})) })

	plain := s.run(t, s.request("plain"))
	equal(t, "health without a healthcheck", s.inspect(t, plain).Health, api.HealthNone)
}

// startsUnprobed wants no health before the first probe, which comes an interval after the
// start: a look that took longer proves nothing, and the container is started again.
func (s *Subject) startsUnprobed(t *testing.T, id string, interval time.Duration, start func()) {
	t.Helper()
	eventually(t, "a look within "+interval.String()+" of the start", func() bool {
		start()
		c := s.inspect(t, id)
		if time.Since(c.StartedAt) >= interval {
			return false
		}
		equal(t, "health before the first probe", c.Health, api.HealthStarting)
		return true
	})
}

func checkInfo(t *testing.T, s *Subject) {
	info, err := s.Info(t.Context())
	require(t, err)
	if !info.Reachable || info.Version == "" || info.APIVersion == "" || info.Driver == "" {
		t.Errorf("engine tells too little: %+v", info)
	}
}
