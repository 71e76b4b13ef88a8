package rollout_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/rollout"
)

var t0 = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// spec is core, then canary, then c and d as the rest.
func spec() api.RolloutSpec {
	return api.RolloutSpec{Waves: []api.WaveSpec{{Name: "core", Nodes: []string{"a"}}, {Name: "canary", Nodes: []string{"b"}}}}
}

func digests(revision string, nodes ...string) map[string]string {
	out := map[string]string{}
	for _, n := range nodes {
		out[n] = "sha256:" + revision + n
	}
	return out
}

// earlier is a rollout of r1 that has succeeded on a, b, c and d.
func earlier() *rollout.Record {
	r := &rollout.Record{Revision: "r1", Phase: rollout.Succeeded, Started: t0, Ended: t0, Timeout: time.Minute, Targets: map[string]rollout.Target{}}
	for n, d := range digests("r1", "a", "b", "c", "d") {
		r.Targets[n] = rollout.Target{Revision: "r1", Digest: d}
	}
	return r
}

func begin(order rollout.Order) *rollout.Record {
	order.Revision, order.Spec = "r2", spec()
	if order.Digests == nil {
		order.Digests = digests("r2", "a", "b", "c", "d")
	}
	r, _ := rollout.Begin(earlier(), order, t0)
	return &r
}

func stack(change func(*api.StackStatus)) api.StackStatus {
	s := api.StackStatus{Name: "core", Converged: true, Reason: api.ReasonConverged}
	if change != nil {
		change(&s)
	}
	return s
}

// at is a connected node that has accepted a slice and told about it.
func at(digest string, stacks ...api.StackStatus) rollout.Node {
	return rollout.Node{Connected: true, Digest: digest, StatusDigest: digest, Status: &api.NodeStatus{Ready: true, Stacks: stacks}}
}

func rolledBack(s *api.StackStatus) {
	s.Converged, s.Reason = false, api.ReasonRolledBack
	s.Rollout = &api.RolloutStatus{Phase: "rolled-back", Failed: &api.FailedUpdate{
		Revision: "r2", Action: api.FailureRollback, Service: "backend", Container: "ktrdr-backend", Message: "is unhealthy", Log: []string{"first", "no such table"},
	}}
}

// told are the steps, one line each.
func told(steps []rollout.Step) string {
	var lines []string
	for _, s := range steps {
		lines = append(lines, strings.Join(strings.Fields(strings.Join([]string{s.Wave, s.Node, string(s.Phase), string(s.Reason)}, " ")), " "))
	}
	return strings.Join(lines, "\n")
}

func TestWavesFollowEachOther(t *testing.T) {
	r := begin(rollout.Order{})
	nodes := map[string]rollout.Node{}
	for _, n := range []string{"a", "b", "c", "d"} {
		nodes[n] = at("sha256:r1"+n, stack(nil))
	}
	step := func(want string) {
		t.Helper()
		next, steps := rollout.Next(r, nodes, t0.Add(time.Second))
		if diff := cmp.Diff(want, told(steps)); diff != "" {
			t.Errorf("steps (-want +got):\n%s", diff)
		}
		r = &next
	}
	step("core running\ncore a sent")
	step("")
	nodes["a"] = at("sha256:r2a", stack(func(s *api.StackStatus) { s.Converged, s.Reason = false, api.ReasonProgressing }))
	step("core a accepted")
	// Converged, and still watched: not proven yet.
	nodes["a"] = at("sha256:r2a", stack(func(s *api.StackStatus) { s.Rollout = &api.RolloutStatus{Phase: "updating"} }))
	step("")
	nodes["a"] = at("sha256:r2a", stack(nil))
	step("core a converged\ncore succeeded\ncanary running\ncanary b sent")
	if got := r.Targets["c"]; got.Revision != "r1" {
		t.Errorf("c has %v before its wave", got)
	}
	nodes["b"] = at("sha256:r2b", stack(nil))
	step("canary b converged\ncanary succeeded\nrest running\nrest c sent\nrest d sent")
	// What happens to a node later is not the rollout's.
	nodes["a"] = at("sha256:r2a", stack(func(s *api.StackStatus) { s.Converged = false }))
	nodes["c"], nodes["d"] = at("sha256:r2c"), at("sha256:r2d", stack(nil), stack(nil))
	step("rest c converged\nrest d converged\nrest succeeded\nsucceeded")
	step("")
	if p := r.Waves[2].Nodes[1]; p.Converged != 2 || p.Stacks != 2 {
		t.Errorf("d counts %d/%d stacks", p.Converged, p.Stacks)
	}
}

func TestEnds(t *testing.T) {
	fault := func(change func(*api.StackStatus)) rollout.Node { return at("sha256:r2a", stack(change)) }
	blocked := func(s *api.StackStatus) {
		s.Converged, s.Reason = false, api.ReasonDataUnprotected
		s.Conditions = []api.Condition{{Type: api.ConditionBlocked, Status: true, Reason: api.ReasonDataUnprotected, Message: "mount it"}}
	}
	for name, c := range map[string]struct {
		a      rollout.Node
		after  time.Duration
		want   string
		reason api.Reason
		text   string
	}{
		"rolled back": {
			a: fault(rolledBack), want: "core running\ncore a sent\ncore a failed RolledBack\ncore failed RolledBack\ncanary skipped\nrest skipped\nfailed RolledBack",
			reason: api.ReasonRolledBack, text: "node a: core: revision r2 was rolled back: backend: is unhealthy; last line of ktrdr-backend: no such table",
		},
		"paused": {a: fault(func(s *api.StackStatus) {
			rolledBack(s)
			s.Rollout.Phase, s.Rollout.Failed.Action, s.Reason = "paused", api.FailurePause, api.ReasonUpdatePaused
		}), want: "failed", reason: api.ReasonUpdatePaused, text: "is paused"},
		"blocked": {a: fault(blocked), want: "failed", reason: api.ReasonDataUnprotected, text: "mount it"},
		"refused": {
			a:    rollout.Node{Connected: true, Digest: "sha256:r1a", Refused: &rollout.Refusal{Digest: "sha256:r2a", Reason: "PolicyViolation", Message: "no privileged"}},
			want: "failed", reason: rollout.ReasonRefused, text: "PolicyViolation: no privileged",
		},
		"timeout": {a: at("sha256:r1a", stack(nil)), after: rollout.DefaultTimeout, want: "failed", reason: rollout.ReasonTimeout, text: "wave core has not converged in 15m0s: a sent"},
	} {
		t.Run(name, func(t *testing.T) {
			r, steps := rollout.Next(begin(rollout.Order{}), map[string]rollout.Node{"a": c.a}, t0)
			if c.after > 0 {
				r, steps = rollout.Next(&r, map[string]rollout.Node{"a": c.a}, t0.Add(c.after))
			}
			if got := told(steps); !strings.Contains(got, c.want) {
				t.Errorf("steps:\n%s\nwant:\n%s", got, c.want)
			}
			if r.Phase != rollout.Failed || r.Reason != c.reason || !strings.Contains(r.Message, c.text) {
				t.Errorf("ends %s %s: %s", r.Phase, r.Reason, r.Message)
			}
			for _, n := range []string{"b", "c", "d"} {
				if r.Targets[n].Revision != "r1" {
					t.Errorf("%s gets %v although the rollout was stopped", n, r.Targets[n])
				}
			}
		})
	}
}

// TestNotYetAFailure: what was said about another slice, or before the new plan, counts for nothing.
func TestNotYetAFailure(t *testing.T) {
	old := at("sha256:r1a", stack(rolledBack))
	unplanned := at("sha256:r2a", stack(func(s *api.StackStatus) { rolledBack(s); s.Reason = api.ReasonProgressing }))
	pending := at("sha256:r2a", stack(func(s *api.StackStatus) {
		s.Converged, s.Reason, s.Pending = false, api.ReasonProgressing, []string{"create"}
		s.Conditions = []api.Condition{{Type: api.ConditionBlocked, Status: true, Reason: api.ReasonJobFailed}}
	}))
	stale := at("sha256:r2a", stack(rolledBack))
	stale.StatusDigest = "sha256:r1a"
	for name, n := range map[string]rollout.Node{"old slice": old, "not planned": unplanned, "pending": pending, "stale status": stale} {
		if r, steps := rollout.Next(begin(rollout.Order{}), map[string]rollout.Node{"a": n}, t0); r.Phase != rollout.Running {
			t.Errorf("%s: %s", name, told(steps))
		}
	}
}

// TestUnreachable is acceptance scenario 12: the others converge, the rollout is no success,
// and the node has its target for when it comes back.
func TestUnreachable(t *testing.T) {
	nodes := map[string]rollout.Node{"a": {AwaySince: t0.Add(-time.Hour)}}
	for _, n := range []string{"b", "c", "d"} {
		nodes[n] = at("sha256:r2"+n, stack(nil))
	}
	r, steps := rollout.Next(begin(rollout.Order{}), nodes, t0)
	if r.Phase != rollout.Failed || r.Reason != rollout.ReasonUnreachable || !strings.Contains(r.Message, "on return: a") {
		t.Errorf("ends %s %s %q:\n%s", r.Phase, r.Reason, r.Message, told(steps))
	}
	if got := r.Targets["a"]; got != (rollout.Target{Revision: "r2", Digest: "sha256:r2a"}) {
		t.Errorf("a is to have %v", got)
	}
	nodes["a"] = rollout.Node{AwaySince: t0.Add(-rollout.DefaultGrace + 1)}
	if r, _ := rollout.Next(begin(rollout.Order{}), nodes, t0); r.Waves[0].Phase != rollout.Running {
		t.Error("a wave goes on without a node that was just seen")
	}
}

func TestLateNodeHoldsUpTheEnd(t *testing.T) {
	nodes := map[string]rollout.Node{"a": {AwaySince: t0.Add(-time.Hour)}, "b": at("sha256:r2b"), "c": at("sha256:r2c"), "d": {Connected: true}}
	r, _ := rollout.Next(begin(rollout.Order{}), nodes, t0)
	nodes["a"] = rollout.Node{Connected: true}
	nodes["d"] = at("sha256:r2d")
	if r, _ = rollout.Next(&r, nodes, t0); r.Phase != rollout.Running {
		t.Fatalf("ended %s with a node at work", r.Phase)
	}
	late := maps.Clone(nodes)
	if r, _ := rollout.Next(&r, late, t0.Add(rollout.DefaultTimeout)); r.Reason != rollout.ReasonTimeout {
		t.Errorf("ended %s %s after the time of the last wave", r.Phase, r.Reason)
	}
	nodes["a"] = at("sha256:r2a")
	if r, _ := rollout.Next(&r, nodes, t0); r.Phase != rollout.Succeeded {
		t.Errorf("ended %s %s", r.Phase, r.Message)
	}
}

func TestCordoned(t *testing.T) {
	nodes := map[string]rollout.Node{"a": {Connected: true, Cordoned: true}}
	for _, n := range []string{"b", "c", "d"} {
		nodes[n] = at("sha256:r2"+n, stack(nil))
	}
	r, _ := rollout.Next(begin(rollout.Order{}), nodes, t0)
	if r.Phase != rollout.Succeeded || !strings.Contains(r.Message, "left out: a") || r.Targets["a"].Revision != "r1" {
		t.Errorf("ends %s %q with a at %v", r.Phase, r.Message, r.Targets["a"])
	}
	nodes["a"] = rollout.Node{Connected: true}
	if r, _ = rollout.Next(&r, nodes, t0); r.Targets["a"].Revision != "r2" || r.Phase != rollout.Succeeded {
		t.Errorf("uncordoned: %s with a at %v", r.Phase, r.Targets["a"])
	}
}

func TestHeldStackIsNoSuccess(t *testing.T) {
	nodes := map[string]rollout.Node{"a": at("sha256:r2a", stack(func(s *api.StackStatus) {
		s.Converged, s.Reason, s.Hold = false, api.ReasonOnHold, &api.Hold{}
	}))}
	for _, n := range []string{"b", "c", "d"} {
		nodes[n] = at("sha256:r2"+n, stack(nil))
	}
	if r, _ := rollout.Next(begin(rollout.Order{}), nodes, t0); r.Phase != rollout.Failed || r.Reason != api.ReasonOnHold {
		t.Errorf("ends %s %s", r.Phase, r.Reason)
	}
}

func TestBegin(t *testing.T) {
	order := rollout.Order{Digests: digests("r2", "a", "c")}
	order.Digests["b"], order.Digests["new"] = "sha256:r1b", "sha256:new"
	r := begin(order)
	if got := r.Targets["b"]; got.Revision != "r2" || len(r.Waves) != 2 || r.Waves[0].Name != "core" || len(r.Waves[1].Nodes) != 2 {
		t.Errorf("an unchanged node is part of it: %v %v", got, r.Waves)
	}
	if _, ok := r.Targets["d"]; ok {
		t.Error("a node that is gone has a target")
	}
	if _, ok := r.Targets["new"]; ok {
		t.Error("a new node has a target before its wave")
	}
	next, replaced := rollout.Begin(r, rollout.Order{Revision: "r3", Digests: digests("r1", "a", "b", "c")}, t0)
	if replaced == nil || replaced.Phase != rollout.Replaced || replaced.Waves[0].Phase != rollout.Skipped || r.Phase != rollout.Running {
		t.Errorf("replaced: %+v", replaced)
	}
	ended, steps := rollout.Next(&next, nil, t0)
	if ended.Phase != rollout.Succeeded || ended.Reason != rollout.ReasonUnchanged {
		t.Errorf("nothing reached the nodes, so nothing changes: %s", told(steps))
	}
}

// TestAgain: a failure that is tried anew counts only once the node has had time to try.
func TestAgain(t *testing.T) {
	order := rollout.Order{Digests: digests("r1", "a", "b", "c", "d"), Again: []string{"a"}}
	nodes := map[string]rollout.Node{"a": at("sha256:r1a", stack(rolledBack))}
	r, _ := rollout.Next(begin(order), nodes, t0)
	if r.Phase != rollout.Running || len(r.Waves) != 1 {
		t.Fatalf("ended at once: %s", r.Message)
	}
	if r, _ := rollout.Next(&r, nodes, t0.Add(time.Minute)); r.Phase != rollout.Failed {
		t.Errorf("%s although it failed again", r.Phase)
	}
	nodes["a"] = at("sha256:r1a", stack(nil))
	if r, _ := rollout.Next(&r, nodes, t0); r.Phase != rollout.Succeeded {
		t.Errorf("%s although it went well", r.Phase)
	}
}

// TestRecordSurvivesStorage: another controller goes on with what it reads.
func TestRecordSurvivesStorage(t *testing.T) {
	r, _ := rollout.Next(begin(rollout.Order{Again: []string{"b"}}), map[string]rollout.Node{"a": at("sha256:r2a")}, t0)
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back rollout.Record
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back); diff != "" {
		t.Errorf("(-kept +read):\n%s", diff)
	}
}
