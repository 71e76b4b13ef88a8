package sim_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

const patience = 10 * time.Minute

func TestColdStartAndChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		first := chain("r1", "img:1", "one")
		n.start(first)
		defer n.stop()
		if err := n.settle(patience, "s"); err != nil {
			t.Fatal(err)
		}
		if err := n.verify(first); err != nil {
			t.Fatal(err)
		}
		second := chain("r2", "img:2", "two")
		n.loop.SetDesired(second)
		time.Sleep(time.Millisecond)
		if err := n.settle(patience, "s"); err != nil {
			t.Fatal(err)
		}
		if err := n.verify(second); err != nil {
			t.Fatal(err)
		}
	})
}

// TestNoOpMakesNoCalls: a round without a change asks the engine nothing.
func TestNoOpMakesNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		d := chain("r1", "img:1", "one")
		n.start(d)
		defer n.stop()
		if err := n.settle(patience, "s"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		n.fake.ResetCalls()
		n.loop.Ring("")
		n.loop.SetDesired(chain("r1", "img:1", "one"))
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if calls := n.fake.Calls(); len(calls) > 0 {
			t.Fatalf("a round without a change made calls: %v", calls)
		}
	})
}

// TestCrashAtEveryCall: the agent dies before, and after, each engine call of a rollout and
// each write of a secret folder, half-way too; the next one finishes it, with no duplicate
// and nothing lost.
func TestCrashAtEveryCall(t *testing.T) {
	for _, when := range []string{"before", "half-way", "after"} {
		crashed := true
		for at := 1; crashed; at++ {
			crashed = crashAt(t, when, at)
			if at > 500 {
				t.Fatal("the rollout has no end")
			}
			if t.Failed() {
				t.Fatalf("seed: agent dies %s call %d", when, at)
			}
		}
	}
}

// crashAt runs a rollout whose agent dies at one call, and says whether it came so far.
func crashAt(t *testing.T, when string, at int) (crashed bool) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		n.start(chain("r1", "img:1", "one"))
		if err := n.settle(patience, "s"); err != nil {
			t.Error(err)
		}
		data := n.volume(t)
		var calls, dead atomic.Int64
		n.fault.Store(new(fault(func(moment, _, _ string) error {
			if dead.Load() > 0 {
				return errCrashed
			}
			if moment == when && calls.Add(1) == int64(at) {
				dead.Store(1)
				n.crash()
				return errCrashed
			}
			return nil
		})))
		second := chain("r2", "img:2", "two")
		n.loop.SetDesired(second)
		time.Sleep(time.Millisecond)
		if err := n.settle(time.Minute, "s"); err != nil && dead.Load() == 0 {
			t.Error(err)
		}
		crashed = dead.Load() > 0
		n.stop()
		n.fault.Store(nil)
		n.start(second)
		defer n.stop()
		if err := n.settle(patience, "s"); err != nil {
			t.Error(err)
		}
		if err := n.verify(second); err != nil {
			t.Error(err)
		}
		if n.volume(t) != data {
			t.Error("the volume is another one")
		}
	})
	return crashed
}

// volume identifies the data volume.
func (n *node) volume(t *testing.T) string {
	for _, v := range n.fake.Truth().Volumes {
		if v.Name == "p_data" {
			return v.Name + v.Labels[api.LabelSpecHash]
		}
	}
	t.Error("the data volume is gone")
	return ""
}
