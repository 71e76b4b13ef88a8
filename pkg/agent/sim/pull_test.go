package sim_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/api"
)

// hourly is a service whose tag is looked for every hour.
func hourly() *api.Desired {
	return desired("r1", service("web", func(svc *api.Service, s *api.ContainerSpec) {
		svc.PullPolicy = api.PullPolicy{Policy: api.PullEvery, Every: time.Hour}
		s.Image = "app:latest"
	}))
}

// runs is the image of the service's container.
func (n *node) runs() string {
	for _, c := range n.fake.Truth().Containers {
		if c.Name == "p-web-1" && c.State == api.StateRunning {
			return c.ImageID
		}
	}
	return ""
}

// TestPeriodicPull: a registry that is away never stops anything nor makes a stack
// unconverged; a newer image is rolled out when the period is over and not before; one
// that crashes goes back to the image before, and the next one is tried.
func TestPeriodicPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		publish := func(name string) string {
			return n.fake.PublishImage("app:latest", api.Image{ID: "sha256:" + name}, "", "").ID
		}
		n.fake.Program = func(c *api.Container) enginetest.Program {
			return enginetest.Program{Exits: c.ImageID == "sha256:bad", Code: 1}
		}
		first := publish("first")
		n.start(hourly())
		defer func() { n.stop() }()
		if err := n.known("r1"); err != nil {
			t.Fatal(err)
		}

		n.fake.FailPulls("app:latest", errors.New("connection refused"))
		for range 30 {
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			if st, _ := n.report.state("s"); !st.Converged || n.runs() != first {
				t.Fatalf("the registry is away: converged %t, runs %s", st.Converged, n.runs())
			}
		}
		if st, _ := n.report.state("s"); len(st.Conditions) != 1 || st.Conditions[0].Type != api.ConditionDegraded || st.Conditions[0].Reason != api.ReasonImagePull {
			t.Errorf("conditions: %+v", st.Conditions)
		}
		n.fake.FailPulls("app:latest", nil)
		n.within(t, 10*time.Minute, "the registry is back", func() bool { st, _ := n.report.state("s"); return len(st.Conditions) == 0 })

		second := publish("second")
		time.Sleep(30 * time.Minute)
		if n.runs() != first {
			t.Fatal("upgraded before the period was over")
		}
		n.stop() // a restart of the agent must not look before its time
		n.start(hourly())
		time.Sleep(15 * time.Minute)
		if n.runs() != first {
			t.Fatal("upgraded by a restart")
		}
		n.within(t, time.Hour, "second image", func() bool { return n.runs() == second })
		time.Sleep(10 * time.Minute)

		publish("bad")
		time.Sleep(90 * time.Minute)
		if err := n.settleBack(patience); err != nil {
			t.Fatal(err)
		}
		if n.runs() != second {
			t.Fatalf("runs %s after a bad image", n.runs())
		}
		third := publish("third")
		n.within(t, 2*time.Hour, "third image", func() bool { return n.runs() == third })
	})
}

// within lets virtual time pass until ok, at most limit.
func (n *node) within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(time.Second) {
		synctest.Wait()
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s\n%s", what, limit, n.report.explain([]string{"s"}))
		}
	}
}
