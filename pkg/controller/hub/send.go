package hub

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/durationpb"

	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/slicing"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// begin lets messages be sent, the welcome first.
func (s *session) begin() {
	welcome := &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Welcome{Welcome: s.welcome()}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = true
	s.queue = slices.Insert(s.queue, 0, welcome)
	s.ring()
}

// ring has what is due sent. Called with mu held.
func (s *session) ring() {
	if s.open && !s.sending {
		s.sending = true
		s.hub.streams.Go(s.send)
	}
}

// send writes until nothing is due. An error ends the session.
func (s *session) send() {
	for s.ctx.Err() == nil {
		message, err := s.next()
		switch {
		case errors.Is(err, errIdle):
			return
		case err == nil && message != nil:
			err = s.write(message)
		}
		if err != nil {
			s.end(err)
			return
		}
	}
}

func (s *session) write(message *ktrdrv1.ControllerMessage) error {
	if err := s.stream.Send(message); err != nil {
		return fmt.Errorf("send to node %s: %w", s.node, err)
	}
	return nil
}

func (s *session) welcome() *ktrdrv1.Welcome {
	return &ktrdrv1.Welcome{
		Version: s.hub.cfg.Version, Controller: s.hub.cfg.Controller, EventsSeen: s.hub.events.seen(s.node, s.hello.GetRunId()),
		StatusInterval: durationpb.New(s.hub.cfg.StatusInterval), Endpoints: s.hub.cfg.Endpoints,
	}
}

// errIdle tells the sender that nothing is due.
var errIdle = errors.New("nothing is due")

// next takes the next message that is due: what is short first, contents last. It is nil when
// there was one that can't be made, and errIdle when there is none: the sender's work has
// ended with that, and ring begins it anew.
func (s *session) next() (*ktrdrv1.ControllerMessage, error) {
	s.mu.Lock()
	switch {
	case len(s.queue) > 0:
		message := s.queue[0]
		if s.queue = s.queue[1:]; len(s.queue) == 0 {
			s.queue = nil
		}
		s.mu.Unlock()
		return message, nil
	case s.statusAck > 0:
		ack := &ktrdrv1.StatusAck{Seq: s.statusAck}
		s.statusAck = 0
		s.mu.Unlock()
		return &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_StatusAck{StatusAck: ack}}, nil
	case s.eventAck > 0:
		ack := &ktrdrv1.EventAck{Seq: s.eventAck}
		s.eventAck = 0
		s.mu.Unlock()
		return &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_EventAck{EventAck: ack}}, nil
	case s.absentDue && s.current:
		s.absentDue = false
		why := s.absent
		s.mu.Unlock()
		return &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_NoSlice{NoSlice: why}}, nil
	case s.due():
		target, accepted, digest := s.target, s.accepted, s.digest
		s.mu.Unlock()
		return s.slice(target, accepted, digest)
	case len(s.answers) > 0:
		answer := s.answers[0]
		s.mu.Unlock()
		return s.files(answer)
	}
	s.sending = false
	s.mu.Unlock()
	return nil, errIdle
}

// due tells whether the node lacks its target. Called with mu held.
func (s *session) due() bool {
	d := s.target.Digest
	if !s.current {
		return false
	}
	return d != "" && d != s.digest && d != s.sent && d != s.refused || d != "" && d == s.digest && s.sent != "" && s.sent != d
}

// slice makes the message for the target. What can't be sliced is logged, and tried again
// with the next target only: the gate has sliced it once, so this is a defect or a full disk.
func (s *session) slice(target rollout.Target, accepted *slicing.Cut, digest string) (*ktrdrv1.ControllerMessage, error) {
	cut, err := s.hub.cfg.Shelf.Cut(s.ctx, target.Revision, s.node)
	var message *ktrdrv1.Slice
	if err == nil && accepted == nil && digest != "" {
		accepted = s.earlier(digest)
	}
	if err == nil && cut.Digest != target.Digest {
		err = fmt.Errorf("the slice of revision %s has the digest %s, the rollout says %s", target.Revision, cut.Digest, target.Digest)
	}
	if err == nil {
		message, err = cut.Message(s.ctx, accepted)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = target.Digest
	if err != nil {
		s.log.ErrorContext(s.ctx, "slice can't be sent", "revision", target.Revision, "err", err)
		return nil, s.ctx.Err()
	}
	s.cut = cut
	s.hub.cfg.SliceSent()
	s.log.DebugContext(s.ctx, "slice is sent", "revision", target.Revision, "digest", cut.Digest)
	return &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Slice{Slice: message}}, nil
}

// earlier is the slice that the node said it has, if this controller can make it again.
func (s *session) earlier(digest string) *slicing.Cut {
	revision := s.hello.GetRevision()
	if revision == "" {
		return nil
	}
	cut, err := s.hub.cfg.Shelf.Cut(s.ctx, revision, s.node)
	if err != nil || cut.Digest != digest {
		return nil
	}
	return cut
}

// files takes the next part of an answer.
func (s *session) files(answer *slicing.Answer) (*ktrdrv1.ControllerMessage, error) {
	batch, err := answer.Next(s.ctx)
	if err != nil {
		// The agent asks again; a file that is broken for good shows in the log each time.
		s.log.ErrorContext(s.ctx, "contents can't be sent", "err", err)
		batch = &ktrdrv1.FileBatch{Last: true}
	}
	if batch.GetLast() {
		s.mu.Lock()
		if s.answers = s.answers[1:]; len(s.answers) == 0 {
			s.answers = nil
		}
		s.mu.Unlock()
	}
	return &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Files{Files: batch}}, nil
}
