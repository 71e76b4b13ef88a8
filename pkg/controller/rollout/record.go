package rollout

import (
	"maps"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Phase of a rollout, a wave or a node in it.
type Phase string

// Phases. A rollout is Running, Succeeded, Failed or Replaced; a wave Waiting, Running,
// Succeeded, Failed or Skipped; a node Waiting, Sent, Accepted, Converged, Failed or
// Unreachable.
const (
	Waiting     Phase = "waiting"
	Running     Phase = "running"
	Succeeded   Phase = "succeeded"
	Failed      Phase = "failed"
	Replaced    Phase = "replaced"
	Skipped     Phase = "skipped"
	Sent        Phase = "sent"
	Accepted    Phase = "accepted"
	Converged   Phase = "converged"
	Unreachable Phase = "unreachable"
)

// Reasons of rollouts and of nodes in them; a node that fails has its agent's reason. A rollout
// that succeeded is NotJoined when nodes were left out that never joined.
const (
	ReasonUnreachable api.Reason = "Unreachable"
	ReasonNotJoined   api.Reason = "NotJoined"
	ReasonCordoned    api.Reason = "Cordoned"
	ReasonRefused     api.Reason = "SliceRefused"
	ReasonTimeout     api.Reason = "RolloutTimeout"
	ReasonReplaced    api.Reason = "RolloutReplaced"
	ReasonUnchanged   api.Reason = "NothingChanged"
)

const (
	// DefaultTimeout of a wave.
	DefaultTimeout = 15 * time.Minute
	// DefaultGrace is how long a node may be away before a wave goes on without it: agents
	// restart, and come back after their controller did.
	DefaultGrace = 30 * time.Second
	// patience is how long a node whose failure is tried anew may still tell of it.
	patience = 10 * time.Second
	// maxMessage of a node in the record, in bytes.
	maxMessage = 400
	// restWave names the wave of all nodes that no wave names.
	restWave = "rest"
)

// Record is the state of a rollout. Functions of this package never change one in place.
type Record struct {
	// Revision that is brought to the nodes.
	Revision string `json:"revision"`
	// By is who made the revision the head, Accepted when; empty in records of older controllers.
	By       string    `json:"by,omitzero"`
	Accepted time.Time `json:"accepted,omitzero"`
	Phase    Phase     `json:"phase"`
	// Reason and Message say why it ended as it did, or what it waits for.
	Reason  api.Reason    `json:"reason,omitzero"`
	Message string        `json:"message,omitzero"`
	Started time.Time     `json:"started"`
	Ended   time.Time     `json:"ended,omitzero"`
	Timeout time.Duration `json:"timeout"`
	Grace   time.Duration `json:"grace"`
	Waves   []Wave        `json:"waves,omitzero"`
	// Targets is what each node is to have now, whether the rollout touches it or not.
	Targets map[string]Target `json:"targets,omitzero"`
}

// Target is a revision, and what a node gets of it.
type Target struct {
	Revision string `json:"revision"`
	// Digest of the node's slice of that revision.
	Digest string `json:"digest"`
}

// Wave is a set of nodes that get the revision together.
type Wave struct {
	Name    string    `json:"name"`
	Phase   Phase     `json:"phase"`
	Started time.Time `json:"started,omitzero"`
	// Nodes of the wave whose slice changes, sorted by name.
	Nodes []Progress `json:"nodes"`
}

// Progress is one node in a rollout.
type Progress struct {
	Node string `json:"node"`
	// Digest of the slice that it is to get.
	Digest  string     `json:"digest"`
	Phase   Phase      `json:"phase"`
	Reason  api.Reason `json:"reason,omitzero"`
	Message string     `json:"message,omitzero"`
	// Patience is until when a failure counts for nothing: it is the one that is tried anew.
	Patience time.Time `json:"patience,omitzero"`
	// Ailing is since when the node says, without a pause, that something it needs is away.
	Ailing time.Time `json:"ailing,omitzero"`
	// Converged counts stacks that are, Stacks all.
	Converged int `json:"converged,omitzero"`
	Stacks    int `json:"stacks,omitzero"`
}

// clone copies a record so far that no change shows in the original.
func (r *Record) clone() Record {
	out := *r
	out.Waves = slices.Clone(r.Waves)
	for i := range out.Waves {
		out.Waves[i].Nodes = slices.Clone(out.Waves[i].Nodes)
	}
	out.Targets = maps.Clone(r.Targets)
	return out
}

// Over says that a rollout has ended and that no node of it may still get its target, whatever
// nodes say.
func (r *Record) Over() bool {
	switch r.Phase { //nolint:exhaustive // the others are no phases of a rollout
	case Running:
		return false
	case Succeeded:
	case Failed:
		if r.Reason != ReasonUnreachable && r.Reason != api.ReasonOnHold {
			return true
		}
	default:
		return true
	}
	for i := range r.Waves {
		if slices.ContainsFunc(r.Waves[i].Nodes, func(p Progress) bool { return p.Phase == Waiting }) {
			return false
		}
	}
	return true
}

// Progress returns the entry of a node; false when the rollout does not touch it.
func (r *Record) Progress(node string) (Progress, bool) {
	if p := r.progress(node); p != nil {
		return *p, true
	}
	return Progress{}, false
}

// progress returns the entry of a node, or nil when the rollout does not touch it.
func (r *Record) progress(node string) *Progress {
	for i := range r.Waves {
		for j := range r.Waves[i].Nodes {
			if r.Waves[i].Nodes[j].Node == node {
				return &r.Waves[i].Nodes[j]
			}
		}
	}
	return nil
}
