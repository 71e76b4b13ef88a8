package rollout_test

import (
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/controller/rollout"
)

// TestNeverJoined: nobody waits for a node that is not there yet, and it is named; one that joins
// while the rollout runs has to do well, as any other.
func TestNeverJoined(t *testing.T) {
	nodes := map[string]rollout.Node{"a": {NeverJoined: true}}
	for _, n := range []string{"b", "c", "d"} {
		nodes[n] = at("sha256:r2"+n, stack(nil))
	}
	r, steps := rollout.Next(begin(rollout.Order{}), nodes, t0)
	if r.Phase != rollout.Succeeded || r.Reason != rollout.ReasonNotJoined || !strings.Contains(r.Message, "when they do: a") || strings.Contains(r.Message, "b") {
		t.Errorf("ends %s %s %q:\n%s", r.Phase, r.Reason, r.Message, told(steps))
	}
	if got := r.Targets["a"]; got.Revision != "r2" {
		t.Errorf("a is to have %v when it joins", got)
	}

	nodes["d"] = rollout.Node{Connected: true}
	r, _ = rollout.Next(begin(rollout.Order{}), nodes, t0)
	nodes["a"] = rollout.Node{Connected: true}
	nodes["d"] = at("sha256:r2d")
	if r, _ = rollout.Next(&r, nodes, t0.Add(time.Second)); r.Phase != rollout.Running {
		t.Fatalf("ended %s while a node that has just joined is at it", r.Phase)
	}
	nodes["a"] = at("sha256:r2a", stack(rolledBack))
	if r, _ := rollout.Next(&r, nodes, t0.Add(2*time.Second)); r.Phase != rollout.Failed || !strings.HasPrefix(r.Message, "node a: core:") {
		t.Errorf("ended %s %s", r.Phase, r.Message)
	}
	nodes["a"] = at("sha256:r2a", stack(nil))
	if r, _ := rollout.Next(&r, nodes, t0.Add(2*time.Second)); r.Phase != rollout.Succeeded || r.Reason != "" {
		t.Errorf("ended %s %s %s", r.Phase, r.Reason, r.Message)
	}
}

// TestManyReasonsToBeAway: what is worst decides, and everybody is named.
func TestManyReasonsToBeAway(t *testing.T) {
	nodes := map[string]rollout.Node{
		"a": {NeverJoined: true}, "b": {Connected: true, Cordoned: true}, "c": {AwaySince: t0.Add(-time.Hour)}, "d": at("sha256:r2d", stack(nil)),
	}
	r, _ := rollout.Next(begin(rollout.Order{}), nodes, t0)
	if r.Phase != rollout.Failed || r.Reason != rollout.ReasonUnreachable {
		t.Errorf("ends %s %s", r.Phase, r.Reason)
	}
	for _, part := range []string{"on return: c", "left out: b", "when they do: a"} {
		if !strings.Contains(r.Message, part) {
			t.Errorf("%q is not in %q", part, r.Message)
		}
	}
	nodes["c"] = at("sha256:r2c", stack(nil))
	if r, _ := rollout.Next(begin(rollout.Order{}), nodes, t0); r.Phase != rollout.Succeeded || r.Reason != rollout.ReasonNotJoined || !strings.Contains(r.Message, "left out: b") {
		t.Errorf("ends %s %s %s", r.Phase, r.Reason, r.Message)
	}
}
