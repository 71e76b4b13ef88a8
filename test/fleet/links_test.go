package fleet_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/test/lab"
)

// Ways in which a link is cut.
const (
	bothWays = iota
	fromController
	toController
)

func cut(n *node, way int) {
	gone := lab.Fault{Loss: 1}
	switch way {
	case bothWays:
		n.line.Set(gone, gone)
	case fromController:
		n.line.Set(gone, lab.Fault{})
	case toController:
		n.line.Set(lab.Fault{}, gone)
	}
}

func mend(n *node) { n.line.Set(lab.Fault{}, lab.Fault{}) }

// TestLinks scales b while its link is slow or lossy: b has its slots as soon as the link
// allows.
func TestLinks(t *testing.T) {
	f := theFleet(t).base(t)
	b := f.nodes["b"]
	t.Cleanup(func() { mend(b) })
	const each = 50 * time.Millisecond
	for i, fault := range []struct {
		name     string
		to, from lab.Fault
	}{
		{"no fault", lab.Fault{}, lab.Fault{}},
		{"50 ms each way", lab.Fault{Delay: each}, lab.Fault{Delay: each}},
		{"20 % lost each way", lab.Fault{Loss: 0.2}, lab.Fault{Loss: 0.2}},
	} {
		b.line.Set(fault.to, fault.from)
		from, to := "backtest: 1", "backtest: 2"
		if i%2 == 1 {
			from, to = to, from
		}
		began := time.Now()
		revision := f.karl.brought(t, to, edit{"nodes/b.yaml", from, to})
		eventually(t, fault.name+": b has its slots", func() bool { return b.converged() && (b.tag("backtest-worker-2") != "") == (i%2 == 0) })
		took := since(began)
		f.karl.settle(t, revision)
		toB, fromB := b.line.Counts()
		t.Logf("%s: b had its slots %s after the push, the controller knew it after %s; frames %+v and %+v", fault.name, took, since(began), toB, fromB)
		mend(b)
	}
}

// TestAway is acceptance scenario 12: a node is off while all is deployed. The others
// converge, whoever deploys gets to know, and the node follows when it is back.
func TestAway(t *testing.T) {
	f := theFleet(t).base(t)
	gpu := f.nodes["gpu"]
	ctx, cancel := contextFor(2 * limit)
	defer cancel()
	began := time.Now()
	if err := gpu.PowerLoss(ctx); err != nil {
		t.Fatal(err)
	}
	f.karl.await(t, "gpu is Unreachable", func(d *document) bool {
		n := d.Nodes[d.index(t, "gpu")]
		return !n.Connected && n.Reason == "Unreachable"
	})
	t.Logf("a node that lost its power is Unreachable after %s", since(began))

	began = time.Now()
	f.karl.brought(t, "workers: sha-de00002", edit{"stacks/workers/stack.yaml", "sha-de00001", "sha-de00002"})
	out := f.karl.try("ktrdrctl", "deploy", "gpu", "--tag", "sha-de00002")
	t.Logf("deploying to all while a node is away took %s: %s", since(began), out)
	if out.code != 2 || !strings.Contains(out.out, "gpu unreachable") {
		t.Errorf("a deployment that has not reached gpu ends like this: %s", out)
	}
	d := f.karl.settle(t, f.karl.status(t).Head.Revision, "gpu")
	for node, name := range map[string]string{"b": "training-worker-1", "c": "backtest-worker-1"} {
		if got := f.nodes[node].tag(name); got != "sha-de00002" {
			t.Errorf("%s of %s runs %q", name, node, got)
		}
	}
	began = time.Now()
	if err := gpu.PowerOn(ctx); err != nil {
		t.Fatal(err)
	}
	f.karl.settle(t, d.Head.Revision)
	if got := gpu.tag("training-worker-gpu"); got != "sha-de00002" {
		t.Errorf("gpu runs %q", got)
	}
	t.Logf("gpu had the new release %s after it was switched on", since(began))
}

// TestHalfCut cuts one way of two links without a sign to either end: c hears nothing, gpu
// can say nothing. Their agents find out, what runs stays, and they follow when the links
// are mended.
func TestHalfCut(t *testing.T) {
	f := theFleet(t).base(t)
	c, gpu := f.nodes["c"], f.nodes["gpu"]
	before := f.running(t)
	began := time.Now()
	cut(c, fromController)
	cut(gpu, toController)
	revision := f.karl.brought(t, "a release while two nodes are cut off one way",
		edit{"stacks/workers/stack.yaml", "sha-de00001", "sha-de00002"}, edit{"stacks/gpu/stack.yaml", "sha-de00001", "sha-de00002"})
	for _, n := range []*node{c, gpu} {
		eventually(t, n.name+" knows that it has no controller", func() bool {
			st, err := n.status()
			return err == nil && st.Link != nil && !st.Link.Connected
		})
		t.Logf("%s knew that it has no controller after %s", n.name, since(began))
	}
	maps.DeleteFunc(before, func(name string, _ container) bool {
		return !strings.HasPrefix(name, "a/") && !strings.HasPrefix(name, "c/")
	})
	f.untouched(t, "cut off one way", before, "a", "c")
	began = time.Now()
	mend(c)
	mend(gpu)
	f.karl.settle(t, revision)
	for node, name := range map[string]string{"b": "training-worker-1", "c": "backtest-worker-1", "gpu": "training-worker-gpu"} {
		if got := f.nodes[node].tag(name); got != "sha-de00002" {
			t.Errorf("%s of %s runs %q", name, node, got)
		}
	}
	t.Logf("all had the release %s after the links were mended", since(began))
}
