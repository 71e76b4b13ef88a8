package fleet_test

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestWorkers is acceptance scenario 7: one template on two nodes; each worker registers with
// the address of its own node and an id that a restart keeps, and none is there twice.
func TestWorkers(t *testing.T) {
	f := theFleet(t).base(t)
	want := []worker{
		{ID: "b-backtest-1", URL: "http://workers-b.lab:5003", Type: "backtesting"},
		{ID: "b-training-1", URL: "http://workers-b.lab:5005", Type: "training"},
		{ID: "c-backtest-1", URL: "http://workers-c.lab:5003", Type: "backtesting"},
		{ID: "gpu-training-1", URL: "http://gpu.lab:5005", Type: "training"},
	}
	registered := func(t *testing.T, what string) {
		t.Helper()
		began := time.Now()
		var got []worker
		if !poll(t, func() bool {
			all, err := workers()
			got = nil
			for _, w := range all {
				got = append(got, worker{ID: w.ID, URL: w.URL, Type: w.Type})
			}
			usable := !slices.ContainsFunc(all, func(w worker) bool { return w.Status != "available" })
			return err == nil && usable && slices.Equal(got, want)
		}) {
			t.Fatalf("%s: workers %+v, wanted %+v", what, got, want)
		}
		t.Logf("%s: %d workers are registered, each once, after %s", what, len(got), since(began))
	}
	// It remembers workers of earlier tests.
	f.nodes["a"].run(t, "docker", "restart", "ktrdr-backend")
	registered(t, "at first")
	f.nodes["b"].run(t, "docker", "restart", "backtest-worker-1")
	registered(t, "after a restart of one")
	f.nodes["a"].run(t, "docker", "restart", "ktrdr-backend")
	registered(t, "after a restart of the backend, which has forgotten all")
}

// TestLaptop is acceptance scenario 13: who deploys goes away in the middle, and so does the
// controller for a node; the agents finish.
func TestLaptop(t *testing.T) {
	f := theFleet(t).base(t)
	ctx, cancel := contextFor(limit)
	defer cancel()
	began := time.Now()
	f.killedAtWork(t, f.karl.command(ctx, "ktrdrctl", "deploy", "workers", "--tag", "sha-de00002"))
	d := f.karl.await(t, "the deployment has begun", func(d *document) bool {
		return d.Head.Revision != f.baseRevision && d.Rollout.Revision == d.Head.Revision
	})
	t.Logf("ktrdrctl was killed %s after its start, and then the rollout was %s", since(began), d.Rollout.Phase)
	f.karl.settle(t, d.Head.Revision)
	t.Logf("the fleet was on the new release %s after the start", since(began))

	// The controller goes as soon as the canary has its slice.
	b := f.nodes["b"]
	cmd := f.karl.command(ctx, "ktrdrctl", "deploy", "workers", "b", "--tag", "sha-de00001")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b has its slice", func() bool {
		st, err := b.status()
		return err == nil && st.Revision != d.Head.Revision
	})
	cut(b, bothWays)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed
	began = time.Now()
	eventually(t, "b finishes what it holds", func() bool {
		return b.converged() && b.tag("backtest-worker-1") == "sha-de00001" && b.tag("training-worker-1") == "sha-de00001"
	})
	t.Logf("a node whose link was cut had finished %s later", since(began))
	mend(b)
	f.karl.await(t, "the controller knows", func(d *document) bool { return d.settled(d.Head.Revision) })
}

// killedAtWork runs a deployment and kills it when it tells of the first wave.
func (f *fleet) killedAtWork(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	killed := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		if !killed && strings.HasPrefix(lines.Text(), "wave ") {
			killed = cmd.Process.Kill() == nil
		}
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !killed || !ok || exit.Exited() {
		t.Fatalf("the deployment ended before it was killed: %v\n%s", err, strings.Join(said, "\n"))
	}
}

// TestScale is acceptance scenario 17: a pool is scaled on one node. Its neighbours stay,
// monitoring follows, and where it does not fit it is refused with the sum.
func TestScale(t *testing.T) {
	f := theFleet(t).base(t)
	prom := startPrometheus(t, f)
	prom.await(t, "one backtest worker on b", "workers-b.lab:5003", "workers-b.lab:5005", "workers-c.lab:5003", "gpu.lab:5005")
	before := f.running(t)
	began := time.Now()
	out := f.karl.ctl(t, 0, "scale", "backtest=3", "node=b", "--why", "month end")
	t.Logf("scaling from 1 to 3 took %s and says:\n%s", since(began), out)
	if !strings.Contains(out, "warning") || !strings.Contains(out, "memory") {
		t.Errorf("nothing is said about the node being full")
	}
	now := f.running(t)
	for name, port := range map[string]int{"backtest-worker-1": 5003, "backtest-worker-2": 5004, "backtest-worker-3": 5007, "training-worker-1": 5005} {
		if _, runs := now["b/"+name]; !runs {
			t.Errorf("%s does not run", name)
		}
		var health struct{}
		if err := overNetwork(fmt.Sprintf("http://workers-b.lab:%d/health", port), &health); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(now) != len(before)+2 {
		t.Errorf("%d containers run, before %d", len(now), len(before))
	}
	f.untouched(t, "scale", before)
	took := prom.await(t, "three backtest workers on b", "workers-b.lab:5003", "workers-b.lab:5004", "workers-b.lab:5007", "workers-b.lab:5005", "workers-c.lab:5003", "gpu.lab:5005")
	t.Logf("Prometheus had the new targets %s later", took)

	head := f.karl.status(t).Head.Revision
	refused := f.karl.try("ktrdrctl", "scale", "backtest=3", "node=c")
	t.Logf("on c: %s", refused)
	if refused.code != 1 || !strings.Contains(refused.out, "nodes/c.yaml") || !strings.Contains(refused.out, "memory") {
		t.Errorf("what does not fit is not refused with the sum")
	}
	if now := f.karl.status(t).Head.Revision; now != head {
		t.Errorf("a refused change moved the head to %s", now)
	}
}
