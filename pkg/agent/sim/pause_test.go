package sim_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// TestPause: by failure_action pause the replicas that were not reached keep running what
// they ran and are repaired, and the one that failed stays; another revision goes on.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		three := func(revision string, command ...string) *api.Desired {
			d := desired(revision, service("web", func(svc *api.Service, s *api.ContainerSpec) {
				svc.Update = api.Update{Parallelism: 1, Delay: 5 * time.Second, FailureAction: api.FailurePause}
				s.Command = command
			}))
			web := &d.Stacks[0].Services[0]
			for i := 2; i <= 3; i++ {
				rep := web.Replicas[0]
				rep.Number, rep.Name = i, fmt.Sprintf("p-web-%d", i)
				web.Replicas = append(web.Replicas, rep)
			}
			return d
		}
		first, bad := three("r1", "serve"), three("r2", "exit", "7")
		n.start(first)
		defer func() { n.stop() }()
		if err := n.known("r1"); err != nil {
			t.Fatal(err)
		}
		n.loop.SetDesired(bad)
		paused := func() bool { st, _ := n.report.state("s"); return st.Reason == api.ReasonUpdatePaused }
		n.within(t, patience, "paused", paused)
		n.stop()
		n.start(bad)
		n.within(t, patience, "paused after a restart", paused)
		old := first.Stacks[0].Services[0].Replicas[0].SpecHash
		running := func(name string) bool {
			for _, c := range n.fake.Truth().Containers {
				if c.Name == name {
					return c.State == api.StateRunning && c.Labels[api.LabelSpecHash] == old
				}
			}
			return false
		}
		for _, name := range []string{"p-web-2", "p-web-3"} {
			if !running(name) {
				t.Fatalf("%s was reached by an update that failed before", name)
			}
			if err := n.fake.Hand().Remove(name); err != nil {
				t.Fatal(err)
			}
			n.within(t, patience, name+" repaired as it was", func() bool { return running(name) })
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if !paused() {
			t.Error("a pause ends by itself")
		}
		good := three("r3", "serve", "on")
		n.loop.SetDesired(good)
		time.Sleep(time.Millisecond)
		if err := n.known("r3"); err != nil {
			t.Fatal(err)
		}
		if err := n.verify(good); err != nil {
			t.Fatal(err)
		}
	})
}
