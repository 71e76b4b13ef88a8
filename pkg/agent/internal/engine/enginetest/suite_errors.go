package enginetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

func errorChecks() []check {
	return []check{
		{"what is missing is not found", checkMissing},
		{"removal of what is missing succeeds", checkGone},
		{"image is missing", checkImageMissing},
		{"bind source is missing", checkBindMissing},
		{"contexts end calls", checkContexts},
		{"event stream ends with its context", checkStreamEnd},
	}
}

func checkMissing(t *testing.T, s *Subject) {
	ctx, id := t.Context(), strings.Repeat("0", 64)
	calls := map[string]func() error{
		"inspect":   func() error { _, err := s.InspectContainer(ctx, id); return err },
		"measure":   func() error { _, err := s.MeasureContainer(ctx, id); return err },
		"start":     func() error { return s.Start(ctx, id) },
		"restart":   func() error { return s.Restart(ctx, engine.StopRequest{ID: id}) },
		"rename":    func() error { return s.Rename(ctx, id, s.Prefix+"x") },
		"update":    func() error { return s.Update(ctx, engine.UpdateRequest{ID: id}) },
		"unpause":   func() error { return s.Unpause(ctx, id) },
		"exec":      func() error { _, err := s.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{"x"}}); return err },
		"copy":      func() error { return s.CopyFiles(ctx, id, []api.File{{Target: "/x"}}) },
		"logs":      func() error { _, err := s.Logs(ctx, id, 1); return err },
		"network":   func() error { _, err := s.InspectNetwork(ctx, id); return err },
		"volume":    func() error { _, err := s.InspectVolume(ctx, id); return err },
		"container": func() error { return s.Connect(ctx, engine.ConnectRequest{NetworkID: "bridge", ContainerID: id}) },
	}
	for name, call := range calls {
		t.Log(name)
		requireError(t, call(), engine.ErrNotFound, "")
	}
}

func checkGone(t *testing.T, s *Subject) {
	ctx, id := t.Context(), strings.Repeat("0", 64)
	require(t, s.Stop(ctx, engine.StopRequest{ID: id}))
	require(t, s.Remove(ctx, id))
	require(t, s.RemoveNetwork(ctx, id))
	require(t, s.Disconnect(ctx, id, id))
}

func checkImageMissing(t *testing.T, s *Subject) {
	r := s.request("web")
	r.Spec.Image = s.Prefix + "nothing:1"
	_, err := s.Create(t.Context(), r)
	requireError(t, err, engine.ErrNotFound, api.ReasonImageMissing)
}

func checkBindMissing(t *testing.T, s *Subject) {
	r := s.request("web")
	r.Spec.Mounts = []api.Mount{{Type: api.MountBind, Source: s.MissingPath, Target: "/share", Long: true}}
	_, err := s.Create(t.Context(), r)
	requireError(t, err, engine.ErrInvalid, api.ReasonMountMissing)
}

func checkContexts(t *testing.T, s *Subject) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.List(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("list with a canceled context: %v", err)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := s.InspectContainer(late, strings.Repeat("0", 64))
	requireError(t, err, engine.ErrTimeout, api.ReasonEngineHung)
}

func checkStreamEnd(t *testing.T, s *Subject) {
	ctx, cancel := context.WithCancel(t.Context())
	events, errs := s.Events(ctx, time.Time{})
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("the stream ended with %v, want %v", err, context.Canceled)
	}
	if _, open := <-errs; open {
		t.Error("a second error came")
	}
	for range events {
		// Events of others may still be there; what counts is that the channel is closed.
		continue
	}
}
