package agent

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/agent/internal/probe"
	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/api"
)

// TestMountIsToldFirst: when a stack is planned for the state of a mount, the node's status
// has it.
func TestMountIsToldFirst(t *testing.T) {
	t.Parallel()
	a := &Agent{
		cache:  observe.New(enginetest.New(1), observe.Config{}),
		report: report.New(report.Config{Node: "a", Log: slog.New(slog.DiscardHandler)}),
	}
	rung := false
	a.cache.Subscribe(func(string) {
		rung = true
		if list := a.report.Status().Mounts; len(list) != 1 || !list[0].OK {
			t.Errorf("what is planned follows from a mount that the status has as %+v", list)
		}
	})
	a.publishMount("/mnt/a", api.MountState{OK: true, CheckedAt: time.Now()})
	if !rung {
		t.Error("nothing is planned")
	}
}

// TestRegistrationIsToldFirst: when a stack is planned for what a registrar said, the node's
// status has it.
func TestRegistrationIsToldFirst(t *testing.T) {
	t.Parallel()
	l := newListener(func(context.Context, string, time.Duration) ([]probe.Entry, error) { return nil, nil })
	l.running = []registering{worker("http://backend/", 1, nil), worker("http://backend/", 2, nil)}
	told := 0
	l.fact = func(id string, f *api.RegistrationFact) {
		told++
		if st, known := l.byID[id]; !known || st.Reason != f.Reason || len(l.registrars) != 1 {
			t.Errorf("what is planned follows from a registration of %s that the status has as %+v, %+v", id, st, l.registrars)
		}
	}
	l.round(t.Context())
	if told != 2 {
		t.Errorf("%d registrations are planned for, want 2", told)
	}
}
