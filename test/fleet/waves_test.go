package fleet_test

import (
	"strings"
	"testing"
	"time"
)

// TestWaves deploys an image that can't be had: the wave of b waits for it, what runs stays,
// and later waves see nothing. Then the fleet goes back to an earlier revision by a new commit.
func TestWaves(t *testing.T) {
	f := theFleet(t).base(t)
	before := f.running(t)
	began := time.Now()
	// Long enough for a slow node to have tried.
	a := f.karl.try("ktrdrctl", "deploy", "workers", "--tag", "sha-0000bad", "--wait-timeout", "30s")
	t.Logf("deploying an image that can't be had, after %s: %s", since(began), a)
	if a.code != 2 || !strings.Contains(a.out, "b accepted 0/1") || !strings.Contains(a.out, "pull image") {
		t.Errorf("a rollout that waits for an image ends like this: %s", a)
	}
	d := f.karl.status(t)
	if waves, nodes := d.waves(); waves["canary"] != "running" || waves["rest"] != "waiting" || nodes["c"] != "waiting" {
		t.Errorf("waves %v, nodes %v", waves, nodes)
	}
	f.untouched(t, "an image that can't be had", before)
	bad := d.Head.Revision

	began = time.Now()
	out := f.karl.ctl(t, 0, "rollback", f.baseRevision[:10], "--why", "there is no such image")
	t.Logf("rollback took %s:\n%s", since(began), out)
	d = f.karl.await(t, "all converged", func(d *document) bool { return d.settled(d.Head.Revision) })
	if d.Head.Revision == f.baseRevision || d.Head.Revision == bad {
		t.Errorf("a rollback is a new commit, not %s", d.Head.Revision)
	}
	if diff := f.karl.pullAndDiff(t, f.baseRevision); diff != "" {
		t.Errorf("the content differs from that of %s:\n%s", f.baseRevision, diff)
	}
	if log := f.karl.git(t, "log", "-2", "--format=%H %B%an <%ae>"); !strings.Contains(log, bad) || !strings.Contains(log, "there is no such image") || !strings.Contains(log, "karl <karl@example.org>") {
		t.Errorf("the history says %s", log)
	}
	f.untouched(t, "rollback", before)
}

// TestCanary stops between two worker nodes: the canary fails, c and gpu never change.
func TestCanary(t *testing.T) {
	f := theFleet(t).base(t)
	c, gpu := f.running(t)["c/backtest-worker-1"], f.running(t)["gpu/training-worker-gpu"]
	began := time.Now()
	f.karl.pull(t)
	// A release whose workers end at once.
	f.karl.edit(t,
		edit{"stacks/workers/compose.yaml", "uvicorn\", \"ktrdr.backtesting.backtest_worker:app\", \"--host\", \"0.0.0.0\", \"--port\", \"5003\"]", "uvicorn\", \"ktrdr.backtesting.backtest_worker:app\", \"--host\", \"0.0.0.0\", \"--port\", \"nonsense\"]"},
		edit{"stacks/gpu/stack.yaml", "sha-de00001", "sha-de00002"})
	revision, a := f.karl.push(t, "a worker that can't start")
	t.Logf("the push took %s and says:\n%s", since(began), a)
	d := f.karl.await(t, "the rollout has failed", func(d *document) bool { return d.Rollout.Revision == revision && d.Rollout.Phase == "failed" })
	waves, nodes := d.waves()
	t.Logf("waves %v, nodes %v, after %s: %s", waves, nodes, since(began), d.Rollout.Message)
	if nodes["b"] != "failed" || nodes["c"] != "waiting" || nodes["gpu"] != "waiting" {
		t.Errorf("nodes of the rollout: %v", nodes)
	}
	now := f.running(t)
	if now["c/backtest-worker-1"].ID != c.ID || now["gpu/training-worker-gpu"].ID != gpu.ID {
		t.Error("a later wave was touched")
	}
	st, err := f.nodes["c"].status()
	if err != nil || st.Revision == revision {
		t.Errorf("c has the bad revision (%v)", err)
	}
	f.karl.ctl(t, 0, "rollback")
	f.karl.await(t, "all converged", func(d *document) bool { return d.settled(d.Head.Revision) })
}
