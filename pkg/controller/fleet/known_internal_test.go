package fleet

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/rollout"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestSettledIsJudgedTheSame: a rollout takes the same step whether a status that has nothing
// more to tell is read or not.
func TestSettledIsJudgedTheSame(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	skipped := 0
	rapid.Check(t, func(t *rapid.T) {
		m := &ktrdrv1.NodeStatus{Node: "b", Ready: rapid.Float64Range(0, 1).Draw(t, "ready") < 0.9}
		for range rapid.IntRange(0, 3).Draw(t, "stacks") {
			s := &ktrdrv1.StackStatus{Name: "core", Converged: rapid.Float64Range(0, 1).Draw(t, "converged") < 0.9}
			if rapid.Bool().Draw(t, "rollout") {
				s.Rollout = &ktrdrv1.RolloutStatus{Phase: rapid.SampledFrom([]string{"steady", "steady", "updating", "rolled-back", "paused"}).Draw(t, "phase")}
				if rapid.Bool().Draw(t, "failed") {
					s.Rollout.Failed = &ktrdrv1.FailedUpdate{Service: "web", Message: "is unhealthy"}
				}
			}
			if rapid.Bool().Draw(t, "hold") {
				s.Hold = &ktrdrv1.Hold{Why: "maintenance"}
			}
			if rapid.Bool().Draw(t, "condition") {
				s.Conditions = []*ktrdrv1.Condition{{Type: "Blocked", Status: true, Reason: rapid.SampledFrom([]string{"ImageDenied", "MountMissing"}).Draw(t, "reason")}}
			}
			m.Stacks = append(m.Stacks, s)
		}
		status, err := hub.Pack(m)
		if err != nil {
			t.Fatal(err)
		}
		n := hub.Node{Name: "b", Connected: true, Digest: "d", StatusDigest: "d", Status: status}
		if rapid.Bool().Draw(t, "of a revision before") {
			n.Digest, n.StatusDigest = "before", "before"
		}
		full := *status
		full.Settled = false
		read := n
		read.Status = &full
		if status.Settled {
			skipped++
		}
		record := rollout.Record{Revision: "r", Phase: rollout.Running, Timeout: time.Hour, Grace: time.Minute, Started: now, Targets: map[string]rollout.Target{}, Waves: []rollout.Wave{{
			Name: "all", Phase: rollout.Running, Started: now, Nodes: []rollout.Progress{{Node: "b", Digest: "d", Phase: rapid.SampledFrom([]rollout.Phase{rollout.Waiting, rollout.Sent, rollout.Accepted}).Draw(t, "was")}},
		}}}
		got, steps := rollout.Next(&record, map[string]rollout.Node{"b": known(n, now)}, now)
		want, wanted := rollout.Next(&record, map[string]rollout.Node{"b": known(read, now)}, now)
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(steps, wanted) {
			t.Fatalf("without reading %+v\n%+v\nread %+v\n%+v", got, steps, want, wanted)
		}
	})
	if skipped == 0 {
		t.Error("no status was settled")
	}
}
