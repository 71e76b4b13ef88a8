package hub

import (
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/slicing"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// receive reads until the stream ends. What the agent may not say ends it.
func (s *session) receive() {
	for {
		message, err := s.stream.Recv()
		if err != nil {
			s.end(fmt.Errorf("receive from node %s: %w", s.node, err))
			return
		}
		if s.ctx.Err() != nil {
			return
		}
		if err := s.handle(message); err != nil {
			s.log.WarnContext(s.ctx, "stream is ended", "err", err)
			s.end(err)
			return
		}
		if message.GetStatus() != nil {
			// To read it took a deep stack, which a goroutine keeps. The next one begins small.
			s.hub.streams.Go(s.receive)
			return
		}
	}
}

func (s *session) handle(message *ktrdrv1.AgentMessage) error {
	hello := message.GetHello()
	if first := s.hello == nil; first || hello != nil {
		if !first || hello == nil {
			return status.Error(codes.InvalidArgument, "Hello is the first message, once")
		}
		return s.greet(hello)
	}
	switch kind := message.GetKind().(type) {
	case *ktrdrv1.AgentMessage_SliceResult:
		return s.sliceResult(kind.SliceResult)
	case *ktrdrv1.AgentMessage_FileRequest:
		return s.fileRequest(kind.FileRequest)
	case *ktrdrv1.AgentMessage_Status:
		return s.status(kind.Status)
	case *ktrdrv1.AgentMessage_Events:
		return s.eventBatch(kind.Events)
	case *ktrdrv1.AgentMessage_Output:
		s.output(kind.Output)
	case *ktrdrv1.AgentMessage_Result:
		s.result(kind.Result)
	}
	return nil // unknown kinds are ignored: an agent may be one version ahead
}

func (s *session) greet(hello *ktrdrv1.Hello) error {
	if err := checkHello(hello); err != nil {
		return err
	}
	s.hello = hello
	s.digest = hello.GetSliceDigest()
	close(s.greeted)
	return nil
}

// sliceResult: only the digest of a slice that was sent, or one that the node had, counts.
func (s *session) sliceResult(r *ktrdrv1.SliceResult) error {
	if err := checkSliceResult(r); err != nil {
		return err
	}
	digest := r.GetDigest()
	s.mu.Lock()
	known := s.cut != nil && s.cut.Digest == digest
	switch {
	case !known && digest != s.digest:
		s.mu.Unlock()
		return nil // about a slice that a newer one has replaced
	case r.GetAccepted():
		s.digest, s.refused = digest, ""
		if known {
			s.accepted = s.cut
		}
	default:
		s.refused = digest
	}
	s.ring()
	s.mu.Unlock()
	s.hub.update(s, func(n *Node) {
		n.Seen = time.Now()
		if r.GetAccepted() {
			n.Digest, n.Revision, n.Refused = digest, r.GetRevision(), nil
			return
		}
		n.Refused = &rollout.Refusal{Digest: digest, Reason: r.GetReason(), Message: r.GetMessage()}
	})
	s.changed()
	return nil
}

// fileRequest: contents come from the node's own slices only.
func (s *session) fileRequest(r *ktrdrv1.FileRequest) error {
	if len(r.GetSha256()) > maxSums || len(r.GetRevision()) > maxWord {
		return status.Errorf(codes.InvalidArgument, "more than %d contents at once", maxSums)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.answers) >= maxAnswers {
		return status.Errorf(codes.ResourceExhausted, "more than %d requests for contents at once", maxAnswers)
	}
	s.answers = append(s.answers, s.cutOf(r.GetRevision()).Answer(r.GetSha256()))
	s.ring()
	return nil
}

// cutOf returns the node's slice of a revision; nil when it is none that was sent. Called
// with mu held.
func (s *session) cutOf(revision string) *slicing.Cut {
	if cut, ok := s.candidates[revision]; ok {
		return cut
	}
	for _, cut := range []*slicing.Cut{s.cut, s.accepted} {
		if cut != nil && cut.Revision == revision {
			return cut
		}
	}
	return nil
}

// status takes the newest status over. One that comes too fast is read late: the agent's own
// stream is what waits.
func (s *session) status(u *ktrdrv1.StatusUpdate) error {
	if err := checkStatus(s.node, u); err != nil {
		return err
	}
	packed, err := Pack(u.GetStatus())
	if err != nil {
		return err
	}
	now := time.Now()
	var before time.Time
	s.hub.update(s, func(n *Node) {
		before = n.StatusAt
		n.Seen, n.Status, n.StatusDigest, n.StatusAt = now, packed, u.GetSliceDigest(), now
	})
	s.changed()
	s.mu.Lock()
	s.statusAck = max(s.statusAck, u.GetSeq())
	s.ring()
	s.mu.Unlock()
	if wait := s.hub.cfg.StatusInterval/2 - now.Sub(before); wait > 0 {
		s.pause(wait)
	}
	return nil
}

func (s *session) pause(wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

func (s *session) eventBatch(b *ktrdrv1.EventBatch) error {
	if err := checkEvents(b); err != nil {
		return err
	}
	seen := s.hub.events.add(s.node, s.hello.GetRunId(), b.GetEvents())
	s.hub.update(s, func(n *Node) { n.Seen = time.Now() })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eventAck = max(s.eventAck, seen)
	s.ring()
	return nil
}

// abandon ends the calls of a session that is over.
func (s *session) abandon(err error) {
	s.end(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.calls)
	s.open = false
}
