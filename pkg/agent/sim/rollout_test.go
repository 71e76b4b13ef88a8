package sim_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/api"
)

// badUpdates are revisions that fail, each in another way.
func badUpdates() map[string]func(svc *api.Service, spec *api.ContainerSpec) {
	return map[string]func(svc *api.Service, spec *api.ContainerSpec){
		"crashes": func(svc *api.Service, spec *api.ContainerSpec) {
			if svc.Name == "api" {
				spec.Command = []string{enginetest.Prog, "exit", "3"}
			}
		},
		"unhealthy": func(svc *api.Service, spec *api.ContainerSpec) {
			if svc.Name == "api" {
				svc.OwnHealthcheck = true
				spec.Healthcheck = &api.Healthcheck{Test: []string{"CMD", enginetest.Prog, "exit", "1"}, Interval: 2e9, Retries: 2}
			}
		},
		"refused": func(svc *api.Service, spec *api.ContainerSpec) {
			if svc.Name == "worker" {
				spec.ReadOnly, spec.Files = true, []api.File{{Target: "/x", Content: "y"}}
			}
		},
		"job": func(svc *api.Service, spec *api.ContainerSpec) {
			if svc.Name == "migrate" {
				spec.Command = []string{"exit", "4"}
			}
		},
	}
}

// bad is the second revision of the chain with something wrong in it.
func bad(revision, kind string) *api.Desired {
	d := chain(revision, "img:2", "two")
	for i := range d.Stacks[0].Services {
		svc := &d.Stacks[0].Services[i]
		for j := range svc.Replicas {
			badUpdates()[kind](svc, &svc.Replicas[j].Spec)
			svc.Replicas[j].SpecHash = svc.Replicas[j].Spec.Hash()
		}
	}
	return d
}

// settleBack lets virtual time pass until the stack was rolled back and nothing is left to do.
func (n *node) settleBack(limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		synctest.Wait()
		st, ops := n.report.state("s")
		if st.Converged && st.Rollout != nil && st.Rollout.Failed != nil {
			return fmt.Errorf("a stack in quarantine is converged: %+v", st)
		}
		if st.Reason == api.ReasonRolledBack && ops == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not rolled back after %s:\n%s", limit, n.report.explain([]string{"s"}))
		}
		time.Sleep(100 * time.Millisecond) // virtual
	}
}

func (r *recorder) state(stack string) (api.StackStatus, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.plans[stack]
	if p == nil {
		return api.StackStatus{}, 0
	}
	return p.Status, len(p.Ops)
}

// known waits until the revision is known to be good.
func (n *node) known(revision string) error {
	if err := n.settle(patience, "s"); err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		synctest.Wait()
		if r := n.cache.Snapshot().Rollouts["s"]; r != nil && r.Good != nil && r.Good.Desired.Revision == revision {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("revision %s is not known to be good", revision)
		}
	}
}

// TestRollback: each kind of failure leads back to what ran before, and stays there; the
// next revision is tried.
func TestRollback(t *testing.T) {
	for kind := range badUpdates() {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, 1)
				first := chain("r1", "img:1", "one")
				n.start(first)
				defer n.stop()
				if err := n.known("r1"); err != nil {
					t.Fatal(err)
				}
				n.loop.SetDesired(bad("r2", kind))
				if err := n.settleBack(patience); err != nil {
					t.Fatal(err)
				}
				st, _ := n.report.state("s")
				t.Log(st.Message)
				if err := n.verify(first); err != nil {
					t.Fatal(err)
				}
				n.quiet(t, bad("r2", kind))
				n.quiet(t, bad("r3-changes-another-stack", kind))
				if ran := n.report.count("start-container p-migrate-1"); kind != "job" && ran > 2 {
					t.Errorf("the job ran %d times: a rollback must not run it again", ran)
				}
				n.mended(t)
			})
		})
	}
}

// quiet checks that a quarantined state makes no operation and no call in an hour.
func (n *node) quiet(t *testing.T, d *api.Desired) {
	t.Helper()
	n.fake.ResetCalls()
	n.loop.SetDesired(d)
	time.Sleep(4 * time.Minute) // the cache lists every five
	synctest.Wait()
	for method := range n.fake.Calls() {
		if !strings.HasPrefix(method, "Inspect") && !slices.Contains([]string{"List", "PastEvents", "Exec"}, method) {
			t.Errorf("revision %s in quarantine made a call: %s", d.Revision, method)
		}
	}
	if err := n.settleBack(time.Minute); err != nil {
		t.Error(err)
	}
}

// mended pushes a good revision.
func (n *node) mended(t *testing.T) {
	t.Helper()
	good := chain("r4", "img:2", "three")
	n.loop.SetDesired(good)
	time.Sleep(time.Millisecond)
	if err := n.known("r4"); err != nil {
		t.Error(err)
	}
	if err := n.verify(good); err != nil {
		t.Error(err)
	}
}

func (r *recorder) count(op string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := 0
	for _, line := range r.ops {
		if strings.HasPrefix(line, op) {
			count++
		}
	}
	return count
}

// TestRollbackSurvivesCrashes: the agent dies before, and after, each engine call of an
// update, of its failure and of the rollback; the next one ends it, and at no time is
// there neither an old nor a new container of a service.
func TestRollbackSurvivesCrashes(t *testing.T) {
	kinds := []string{"crashes", "unhealthy", "refused", "job"}
	for _, kind := range kinds {
		for _, when := range []string{"before", "after"} {
			t.Run(kind+"/"+when, func(t *testing.T) {
				t.Parallel()
				step := 1
				if testing.Short() {
					step = 7
				}
				crashed := true
				for at := 1; crashed; at += step {
					crashed = crashInRollback(t, kind, when, at)
					if at > 1000 {
						t.Fatal("the rollback has no end")
					}
					if t.Failed() {
						t.Fatalf("agent dies %s call %d of %s", when, at, kind)
					}
				}
			})
		}
	}
}

func crashInRollback(t *testing.T, kind, when string, at int) (crashed bool) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		first, second := chain("r1", "img:1", "one"), bad("r2", kind)
		n.start(first)
		if err := n.known("r1"); err != nil {
			t.Error(err)
		}
		data := n.volume(t)
		var calls, dead atomic.Int64
		n.fault.Store(new(fault(func(moment, _, _ string) error {
			if dead.Load() > 0 {
				return errCrashed
			}
			n.neverBothGone(t)
			if moment == when && calls.Add(1) == int64(at) {
				dead.Store(1)
				n.crash()
				return errCrashed
			}
			return nil
		})))
		n.loop.SetDesired(second)
		time.Sleep(time.Millisecond)
		if err := n.settleBack(patience); err != nil && dead.Load() == 0 {
			t.Error(err)
		}
		crashed = dead.Load() > 0
		n.stop()
		n.fault.Store(nil)
		n.start(second)
		defer n.stop()
		if err := n.settleBack(patience); err != nil {
			t.Error(err)
		}
		if err := n.verify(first); err != nil {
			t.Error(err)
		}
		if n.volume(t) != data {
			t.Error("the volume is another one")
		}
	})
	return crashed
}

// neverBothGone: a service that had a container has one, old or new.
func (n *node) neverBothGone(t *testing.T) {
	var services []string
	for _, c := range n.fake.Truth().Containers {
		services = append(services, c.Labels[api.LabelService])
	}
	for _, want := range []string{"api", "db", "side", "worker"} {
		if !slices.Contains(services, want) {
			t.Errorf("service %s has neither an old nor a new container", want)
		}
	}
}
