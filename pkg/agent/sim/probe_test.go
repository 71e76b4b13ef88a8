package sim_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// probed is a service that a probe alone watches.
func probed() *api.Desired {
	return desired("r1", service("web", func(svc *api.Service, _ *api.ContainerSpec) {
		svc.Probe = &api.Probe{HTTP: &api.HTTPProbe{Port: 80}, Interval: 10 * time.Second, Timeout: 3 * time.Second, Failures: 3}
	}))
}

// starts counts the runs of the service's container until the time is over.
func (n *node) starts(d time.Duration) int {
	runs := map[time.Time]bool{}
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		for _, c := range n.fake.Truth().Containers {
			if c.Name == "p-web-1" && c.State == api.StateRunning {
				runs[c.StartedAt] = true
			}
		}
	}
	return len(runs)
}

// TestProbeNeverSucceeds: a container that its probe does not find healthy within two and a
// half minutes is restarted, ever more seldom; one that gets healthy is let alone from then on.
func TestProbeNeverSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		var sick atomic.Bool
		sick.Store(true)
		n.check = func(string) error {
			if sick.Load() {
				return errors.New("connection refused")
			}
			return nil
		}
		n.start(probed())
		defer func() { n.stop() }()
		if got := n.starts(2 * time.Minute); got != 1 {
			t.Errorf("%d starts within two minutes, wanted 1", got)
		}
		// Four pauses of two and a half minutes, then twice as long to ten minutes.
		if got := n.starts(time.Hour); got < 6 || got > 11 {
			t.Errorf("%d starts within an hour, wanted a few", got)
		}
		if st, _ := n.report.state("s"); st.Converged {
			t.Error("the stack counts as converged")
		}
		sick.Store(false)
		if err := n.settle(30*time.Second, "s"); err != nil {
			t.Fatal(err)
		}
		if got := n.starts(time.Hour); got != 1 {
			t.Errorf("%d starts within an hour of health", got)
		}

		// What an earlier agent found is not known to a new one: it gives the container its time.
		sick.Store(true)
		n.stop()
		n.start(probed())
		if got := n.starts(2 * time.Minute); got != 1 {
			t.Errorf("an agent that has just started restarted a container within two minutes: %d starts", got)
		}
		if got := n.starts(time.Minute); got != 2 {
			t.Errorf("an agent that found a container unhealthy for two and a half minutes has not restarted it: %d starts", got)
		}
	})
}
