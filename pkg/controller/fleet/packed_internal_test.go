package fleet

import (
	"fmt"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/controller/rollout"
)

// record draws a rollout of up to 40 nodes.
func record(t *rapid.T, revision string) rollout.Record {
	at := time.Unix(1_700_000_000, 5).UTC()
	r := rollout.Record{
		Revision: revision, By: "ada", Accepted: at, Started: at, Message: "text", Timeout: time.Hour, Grace: time.Minute,
		Phase: rapid.SampledFrom([]rollout.Phase{rollout.Running, rollout.Succeeded, rollout.Failed, rollout.Replaced}).Draw(t, "phase"),
	}
	if rapid.Bool().Draw(t, "has targets") {
		r.Targets = map[string]rollout.Target{}
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "waves") {
		w := rollout.Wave{Name: fmt.Sprint("wave ", i), Phase: rollout.Running, Nodes: []rollout.Progress{}}
		for j := range rapid.IntRange(0, 20).Draw(t, "nodes") {
			node := fmt.Sprint("n", i, "-", j)
			w.Nodes = append(w.Nodes, rollout.Progress{Node: node, Digest: fmt.Sprint("d", j), Phase: rollout.Sent, Message: "waits", Patience: at, Converged: j, Stacks: 2})
			if r.Targets != nil {
				r.Targets[node] = rollout.Target{Revision: revision, Digest: fmt.Sprint("d", j)}
			}
		}
		r.Waves = append(r.Waves, w)
	}
	return r
}

// TestLedgerForgetsNothing: rollouts come in any order, as from a watch, and are what they were;
// old ones take no more memory than their heads and what was packed.
func TestLedgerForgetsNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := NewLedger(slog.New(slog.DiscardHandler))
		want := map[int64]Entry{}
		for i := range rapid.IntRange(1, 12).Draw(t, "shown") {
			number := rapid.Int64Range(1, 6).Draw(t, "number")
			e := Entry{Number: number, Generation: rapid.Int64Range(1, 4).Draw(t, "generation"), Record: record(t, fmt.Sprint("r", number))}
			e.Record.Message = fmt.Sprint("text ", i)
			l.Show(e)
			if known, ok := want[number]; !ok || e.Generation >= known.Generation {
				want[number] = e
			}
		}
		var newest int64
		for number := range want {
			newest = max(newest, number)
		}
		if got, ok := l.Newest(); !ok || !reflect.DeepEqual(got, want[newest]) {
			t.Fatalf("newest is\n%+v\nwant\n%+v", got, want[newest])
		}
		for number, e := range want {
			got, ok := l.Of(e.Record.Revision)
			if !ok || !reflect.DeepEqual(got, e) {
				t.Fatalf("rollout %d is\n%+v\nwant\n%+v", number, got, e)
			}
			head, ok := l.Outcome(e.Record.Revision)
			if !ok || head.Record.Phase != e.Record.Phase || head.Record.Message != e.Record.Message {
				t.Fatalf("outcome of %d is %+v", number, head.Record)
			}
			if number != newest && (head.Record.Waves != nil || head.Record.Targets != nil) {
				t.Fatalf("rollout %d is kept as it came", number)
			}
		}
	})
}
