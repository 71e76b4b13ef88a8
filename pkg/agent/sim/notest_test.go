package sim_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// TestNothingToRun: a healthcheck that the agent can't run, which an image may bring, makes
// no busy loop: the agent waits for the engine's word.
func TestNothingToRun(t *testing.T) {
	for name, check := range map[string]*api.Healthcheck{
		"no command":   {Test: []string{"CMD"}, Interval: 20 * time.Second},
		"unknown form": {Test: []string{"EXEC", enginetest.Prog, "true"}, Interval: 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, 1)
				n.fake.SetHealth("p-web-1", false, false, true)
				n.start(desired("r1", service("web", func(_ *api.Service, s *api.ContainerSpec) { s.Healthcheck = check })))
				defer n.stop()
				rounds := &rounds{limit: 2000, over: n.crash}
				n.report.watch(rounds.count)
				time.Sleep(50 * time.Second)
				synctest.Wait()
				if got := rounds.n.Load(); got > 100 {
					t.Fatalf("%d rounds within 50 s", got)
				}
				if st, _ := n.report.state("s"); st.Converged || st.Reason != api.ReasonHealthInherited {
					t.Errorf("before the engine says so: %s: %s", st.Reason, st.Message)
				}
				if err := n.settle(30*time.Second, "s"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// rounds counts plans. A loop that never rests would stop the bubble's clock: it ends at the
// limit.
type rounds struct {
	n     atomic.Int64
	limit int64
	over  func()
}

func (r *rounds) count(*plan.Plan) {
	if r.n.Add(1) == r.limit {
		r.over()
	}
}

// watch is told of each plan from now on.
func (r *recorder) watch(planned func(*plan.Plan)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.planned = planned
}
