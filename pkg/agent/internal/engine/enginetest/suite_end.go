package enginetest

import (
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

func endChecks() []check {
	return []check{
		{"exit codes", checkExitCodes},
		{"grace period", checkGrace},
		{"restart on failure", checkOnFailure},
		{"restart always", checkAlways},
		{"what is ended by hand stays ended", checkManual},
		{"restarting can be stopped", checkStopRestarting},
	}
}

func checkExitCodes(t *testing.T, s *Subject) {
	id := s.run(t, s.request("self", "exit", "3"))
	equal(t, "exit code of its own", s.awaitState(t, id, api.StateExited).ExitCode, 3)
	id = s.run(t, s.request("term", "serve-until", "7"))
	s.settle(t, id)
	require(t, s.Stop(t.Context(), engine.StopRequest{ID: id}))
	equal(t, "exit code on SIGTERM", s.inspect(t, id).ExitCode, 7)
	id = s.run(t, s.request("killed"))
	require(t, s.End(t.Context(), id))
	equal(t, "exit code on SIGKILL", s.awaitState(t, id, api.StateExited).ExitCode, 137)
}

// settle waits until the program of a container handles its signals.
func (s *Subject) settle(t *testing.T, id string) {
	t.Helper()
	eventually(t, "the program is ready", func() bool {
		result, err := s.Exec(t.Context(), engine.ExecRequest{ID: id, Command: []string{Prog, "exists", ready}})
		require(t, err)
		return result.ExitCode == 0
	})
}

func checkGrace(t *testing.T, s *Subject) {
	ctx := t.Context()
	id := s.run(t, s.request("stubborn", "stubborn"))
	for _, grace := range []time.Duration{300 * time.Millisecond, time.Second} {
		require(t, s.Start(ctx, id))
		s.settle(t, id)
		began := time.Now()
		require(t, s.Stop(ctx, engine.StopRequest{ID: id, Grace: &grace}))
		if took := time.Since(began); took < grace || took > grace+8*time.Second {
			t.Errorf("stop with a grace period of %s took %s", grace, took)
		}
		ended := s.inspect(t, id)
		equal(t, "exit code", ended.ExitCode, 137)
		equal(t, "state", ended.State, api.StateExited)
	}
	r := s.request("own", "stubborn")
	own := time.Second
	r.Spec.StopGrace = &own
	id = s.run(t, r)
	s.settle(t, id)
	began := time.Now()
	require(t, s.Stop(ctx, engine.StopRequest{ID: id}))
	if took := time.Since(began); took < own || took > 8*time.Second {
		t.Errorf("stop with the container's own grace period of %s took %s", own, took)
	}
}

func checkOnFailure(t *testing.T, s *Subject) {
	r := s.request("job", "exit", "5")
	r.Spec.Restart = api.RestartPolicy{Name: "on-failure", MaxRetries: 2}
	id := s.run(t, r)
	var c *api.Container
	eventually(t, "two restarts and the end", func() bool {
		c = s.inspect(t, id)
		return c.State == api.StateExited && c.Restarts == 2
	})
	equal(t, "exit code", c.ExitCode, 5)

	r = s.request("done", "exit", "0")
	r.Spec.Restart = api.RestartPolicy{Name: "on-failure"}
	id = s.run(t, r)
	equal(t, "restarts after success", s.awaitState(t, id, api.StateExited).Restarts, 0)
}

func checkAlways(t *testing.T, s *Subject) {
	for _, policy := range []string{"always", "unless-stopped"} {
		r := s.request(policy)
		r.Spec.Restart = api.RestartPolicy{Name: policy}
		id := s.run(t, r)
		first := s.inspect(t, id)
		require(t, s.End(t.Context(), id))
		eventually(t, "restart by "+policy, func() bool {
			c := s.inspect(t, id)
			return c.State == api.StateRunning && c.StartedAt.After(first.StartedAt) && c.Pid != first.Pid
		})
		equal(t, "restarts", s.inspect(t, id).Restarts, 1)
		require(t, s.Stop(t.Context(), engine.StopRequest{ID: id}))
		equal(t, "state after stop", s.inspect(t, id).State, api.StateExited)
	}
}

func checkManual(t *testing.T, s *Subject) {
	ctx := t.Context()
	r := s.request("web")
	r.Spec.Restart = api.RestartPolicy{Name: "always"}
	id := s.run(t, r)
	require(t, s.Kill(ctx, id))
	s.awaitState(t, id, api.StateExited)
	// The engine's first restart would come after 100 ms.
	sleep(ctx, 500*time.Millisecond)
	c := s.inspect(t, id)
	equal(t, "state", c.State, api.StateExited)
	equal(t, "restarts", c.Restarts, 0)
}

func checkStopRestarting(t *testing.T, s *Subject) {
	r := s.request("crashing", "exit", "1")
	r.Spec.Restart = api.RestartPolicy{Name: "always"}
	id := s.run(t, r)
	s.awaitState(t, id, api.StateRestarting)
	require(t, s.Stop(t.Context(), engine.StopRequest{ID: id}))
	stopped := s.awaitState(t, id, api.StateExited)
	equal(t, "exit code", stopped.ExitCode, 1)
	sleep(t.Context(), time.Second)
	equal(t, "state later", s.inspect(t, id).State, api.StateExited)
}
