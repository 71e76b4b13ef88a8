package hub

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/controller/rollout"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Reasons of nodes without a slice.
const (
	reasonNotDesired = "NotDesired"
	reasonPending    = "RolloutPending"
)

// absence says why a rollout gives a node nothing; nil when it does.
func absence(r *rollout.Record, node string) *ktrdrv1.NoSlice {
	if _, ok := r.Targets[node]; ok {
		return nil
	}
	revision := r.Revision[:min(12, len(r.Revision))]
	p, wanted := r.Progress(node)
	switch {
	case !wanted:
		return &ktrdrv1.NoSlice{Revision: r.Revision, Reason: reasonNotDesired, Message: fmt.Sprintf("there is no nodes/%s.yaml at revision %s: add it and push", node, revision)}
	case p.Reason == rollout.ReasonCordoned:
		return &ktrdrv1.NoSlice{Revision: r.Revision, Reason: reasonPending, Message: fmt.Sprintf("the node is cordoned: it gets revision %s when it is uncordoned", revision)}
	case r.Phase == rollout.Running:
		return &ktrdrv1.NoSlice{Revision: r.Revision, Reason: reasonPending, Message: fmt.Sprintf("the rollout of revision %s comes to the node with its wave", revision)}
	}
	return &ktrdrv1.NoSlice{Revision: r.Revision, Reason: reasonPending, Message: fmt.Sprintf("the rollout of revision %s was stopped before it came to the node: mend what stopped it and push", revision)}
}

// setAbsent tells nodes without a target why.
func (h *Hub) setAbsent(absent func(node string) *ktrdrv1.NoSlice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.absent = absent
	for _, s := range h.sessions {
		s.miss(absent)
	}
}

// miss notes why there is nothing for the node, to be told once. Called with the hub's lock.
func (s *session) miss(absent func(node string) *ktrdrv1.NoSlice) {
	if absent == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.digest != "" {
		s.absent, s.absentDue = nil, false
		return
	}
	if why := absent(s.node); !proto.Equal(why, s.absent) {
		s.absent, s.absentDue = why, why != nil
		s.ring()
	}
}
