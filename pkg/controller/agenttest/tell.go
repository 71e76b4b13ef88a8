package agenttest

import (
	"context"
	"encoding/hex"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Revision is in force, with the digest of its slice.
func (a *Agent) Revision() (revision, digest string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.slice.GetRevision(), a.slice.GetDigest()
}

// Absent is why there is no slice, by the newest word of a controller; nil when it said none.
func (a *Agent) Absent() *ktrdrv1.NoSlice {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.absent
}

// History are the revisions that were accepted, in their order.
func (a *Agent) History() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.history)
}

// Received counts slices and Connections streams that were greeted.
func (a *Agent) Received() (slices, connections int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.received, a.links
}

// Seen are the revisions of all slices that came, accepted or not, in their order.
func (a *Agent) Seen() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen)
}

// Endpoints are the controllers that the newest Welcome told of.
func (a *Agent) Endpoints() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.told)
}

// Controller is the id of the one that sent the newest Welcome.
func (a *Agent) Controller() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at
}

// File returns the content of a file that is in force.
func (a *Agent) File(path string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range a.slice.GetFiles() {
		if f.GetPath() == path {
			return string(a.files[hex.EncodeToString(f.GetSha256())])
		}
	}
	return ""
}

// Slice is in force; nil before the first. Nobody changes it.
func (a *Agent) Slice() *ktrdrv1.Slice {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.slice
}

// Say sends a status about the slice in force again, with the outcome of now.
func (a *Agent) Say() {
	a.mu.Lock()
	l := a.link
	a.mu.Unlock()
	if l != nil {
		l.report(l.ctx)
	}
}

// Event tells of something that happened; a controller that lacks it gets it again, as of a real
// agent.
func (a *Agent) Event(message string) {
	a.mu.Lock()
	now := time.Now()
	e := &ktrdrv1.Event{Seq: uint64(now.UnixMilli()), Time: timestamppb.New(now), Level: "info", Stack: "core", Reason: "Test", Message: message} //nolint:gosec // not negative
	if n := len(a.events); n > 0 {
		e.Seq = max(e.GetSeq(), a.events[n-1].GetSeq()+1)
	}
	a.events = append(a.events, e)
	l := a.link
	a.mu.Unlock()
	if l != nil {
		l.tell(l.ctx, []*ktrdrv1.Event{e})
	}
}

func (l *link) tell(ctx context.Context, events []*ktrdrv1.Event) {
	if len(events) > 0 {
		l.send(ctx, &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Events{Events: &ktrdrv1.EventBatch{Events: events}}})
	}
}

// Drop breaks the connection off; Run makes another one.
func (a *Agent) Drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.link != nil {
		a.link.drop()
	}
}

// Faults are what the controller did wrong.
func (a *Agent) Faults() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.faults)
}
