package hub

import (
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/internal/squeeze"
	"ktrdr.io/fleet/pkg/controller/rollout"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Status is what a node said about itself, packed: as a message it takes ten times the memory,
// and there is one for each node. It is immutable; nil is none.
type Status struct {
	// Ready is what the agent says of itself; Converged that it is ready and all stacks are as
	// wanted. Settled: and none of them may still be rolled back, so that nothing is left to know.
	Ready, Converged, Settled bool
	// Stacks is how many there are.
	Stacks int
	// gist tells statuses apart that differ in more than what changes all the time.
	gist   [sha256.Size]byte
	packed []byte
	size   int // unpacked
}

// Pack takes a status over: the message is the caller's no longer.
func Pack(m *ktrdrv1.NodeStatus) (*Status, error) {
	raw, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("pack status of node %s: %w", m.GetNode(), err)
	}
	packed, err := squeeze.Deflate(raw)
	if err != nil {
		return nil, fmt.Errorf("pack status of node %s: %w", m.GetNode(), err)
	}
	s := &Status{Ready: m.GetReady(), Converged: m.GetReady(), Stacks: len(m.GetStacks()), packed: packed, size: len(raw)}
	steady := true
	for _, stack := range m.GetStacks() {
		s.Converged = s.Converged && stack.GetConverged()
		steady = steady && !rollout.Updating(stack.GetRollout().GetPhase())
	}
	s.Settled = s.Converged && steady
	m.Time, m.SourceCheckedAt = nil, nil
	for _, p := range m.GetSecretProviders() {
		p.LastAttempt, p.LastSuccess, p.Requests = nil, nil, 0
	}
	for _, r := range m.GetRegistrars() {
		r.CheckedAt = nil
	}
	for _, b := range m.GetBackups() {
		b.CheckedAt = nil
	}
	plain, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("pack status of node %s: %w", m.GetNode(), err)
	}
	s.gist = sha256.Sum256(plain)
	return s, nil
}

// Message unpacks the status: the caller's own copy, made anew by each call. nil for none.
func (s *Status) Message() *ktrdrv1.NodeStatus {
	if s == nil {
		return nil
	}
	raw, err := squeeze.Inflate(s.packed, s.size)
	out := &ktrdrv1.NodeStatus{}
	if err == nil {
		err = proto.Unmarshal(raw, out)
	}
	if err != nil {
		// Pack has made it, so this is a defect; whoever looks should see that.
		return &ktrdrv1.NodeStatus{Conditions: []*ktrdrv1.Condition{{
			Type: api.ConditionWarning, Status: true, Reason: "StatusUnreadable", Message: "the controller can't read what it keeps: " + err.Error(),
		}}}
	}
	return out
}

// unpack reads a status of size bytes that another controller, or this one before, has packed;
// with size 0 it was not packed.
func unpack(packed []byte, size int) (*Status, error) {
	if size < 0 || size > maxStatus {
		return nil, fmt.Errorf("unpack status: it is said to have %d bytes, expected up to %d", size, maxStatus)
	}
	raw := packed
	if size > 0 {
		var err error
		if raw, err = squeeze.Inflate(packed, size); err != nil {
			return nil, fmt.Errorf("unpack status: %w", err)
		}
	}
	m := &ktrdrv1.NodeStatus{}
	if err := proto.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("unpack status: %w", err)
	}
	return Pack(m)
}
