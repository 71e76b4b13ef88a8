package rollout

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Order asks for a rollout.
type Order struct {
	Revision string
	// By and Accepted are for the record.
	By       string
	Accepted time.Time
	// Spec is that of the revision's fleet.yaml. Names of nodes that are not in Digests count
	// for nothing.
	Spec api.RolloutSpec
	// Digests of the slices of all nodes of the revision.
	Digests map[string]string
	// Again names nodes that take part although their slice does not change: what failed on
	// them is tried anew.
	Again []string
	// Grace of nodes that are away; 0: DefaultGrace.
	Grace time.Duration
}

// Begin returns the record of a new rollout and, when earlier had not ended, earlier as
// Replaced. Nodes keep the targets that earlier gave them until their wave begins; a node
// that needs no new slice has the new revision at once. earlier is nil before the first one.
func Begin(earlier *Record, order Order, now time.Time) (begun Record, replaced *Record) {
	begun = Record{
		Revision: order.Revision, By: order.By, Accepted: order.Accepted, Phase: Running, Started: now,
		Timeout: time.Duration(order.Spec.Timeout), Grace: order.Grace, Targets: map[string]Target{},
	}
	if begun.Timeout <= 0 {
		begun.Timeout = DefaultTimeout
	}
	if begun.Grace <= 0 {
		begun.Grace = DefaultGrace
	}
	taking := map[string]bool{}
	for node, digest := range order.Digests {
		have, known := Target{}, false
		if earlier != nil {
			have, known = earlier.Targets[node]
		}
		switch {
		case !known || have.Digest != digest:
			taking[node] = true
			if known {
				begun.Targets[node] = have
			}
		default:
			begun.Targets[node] = Target{Revision: order.Revision, Digest: digest}
			taking[node] = slices.Contains(order.Again, node)
		}
	}
	begun.Waves = waves(order, taking)
	for _, node := range order.Again {
		if p := begun.progress(node); p != nil {
			p.Patience = now.Add(patience)
		}
	}
	if earlier != nil && earlier.Phase == Running {
		old := earlier.replace(order.Revision, now)
		replaced = &old
	}
	return begun, replaced
}

// waves distributes the nodes that take part. Waves without any are left out.
func waves(order Order, taking map[string]bool) []Wave {
	var out []Wave
	add := func(name string, nodes []string) {
		wave := Wave{Name: name, Phase: Waiting}
		for _, node := range slices.Sorted(slices.Values(nodes)) {
			if taking[node] {
				delete(taking, node)
				wave.Nodes = append(wave.Nodes, Progress{Node: node, Digest: order.Digests[node], Phase: Waiting})
			}
		}
		if len(wave.Nodes) > 0 {
			out = append(out, wave)
		}
	}
	for _, spec := range order.Spec.Waves {
		add(spec.Name, spec.Nodes)
	}
	add(restWave, slices.Collect(maps.Keys(taking)))
	return out
}

func (r *Record) replace(by string, now time.Time) Record {
	out := r.clone()
	out.end(Replaced, ReasonReplaced, fmt.Sprintf("revision %s took its place", short(by)), now)
	for i := range out.Waves {
		if w := &out.Waves[i]; w.Phase == Waiting || w.Phase == Running {
			w.Phase = Skipped
		}
	}
	return out
}

// end is the last change but for releases.
func (r *Record) end(phase Phase, reason api.Reason, message string, now time.Time) {
	r.Phase, r.Reason, r.Message, r.Ended = phase, reason, message, now
}

// short is a commit as people write it.
func short(revision string) string { return revision[:min(len(revision), 12)] }
