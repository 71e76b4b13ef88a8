package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/slicing"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

type stream = grpc.BidiStreamingServer[ktrdrv1.AgentMessage, ktrdrv1.ControllerMessage]

const (
	// helloTimeout is how long an agent may take to say who it is.
	helloTimeout = 10 * time.Second
	// maxQueue of commands and cancellations, maxAnswers of requests for contents that wait.
	maxQueue   = 64
	maxAnswers = 4
)

// session is one stream of one node. Its handler's goroutine waits for the end, one sends
// and one receives; what is to be sent is state, not a queue, so that a slow agent
// costs nothing.
type session struct {
	hub     *Hub
	stream  stream
	node    string
	address string
	since   time.Time
	ctx     context.Context //nolint:containedctx // the stream's own: its life is what this type is
	end     context.CancelCauseFunc
	log     *slog.Logger
	bell    chan struct{}
	keeping keeping
	greeted chan struct{}
	hello   *ktrdrv1.Hello

	mu sync.Mutex
	// target is what the node is to have, by the rollout with that number.
	target  rollout.Target
	number  int64
	digest  string // that the node has accepted
	refused string // digest that it refused, while the target is the same
	sent    string // digest of the slice that was sent last
	current bool   // the target is no older than what the node may have got elsewhere
	// absent says why there is no slice; due when the node was not told yet.
	absent    *ktrdrv1.NoSlice
	absentDue bool
	// cut is the slice that was sent last, accepted the one that the node has; nil when unknown.
	cut, accepted *slicing.Cut
	// statusAck and eventAck are due when they are not zero.
	statusAck, eventAck uint64
	answers             []*slicing.Answer
	queue               []*ktrdrv1.ControllerMessage
	calls               map[string]*call
	nextCall            uint64
	// candidates are slices that commands under way are about.
	candidates map[string]*slicing.Cut
}

// Connect is the one stream of an agent.
func (h *Hub) Connect(st stream) error {
	node, err := h.cfg.Caller(st.Context())
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(st.Context())
	defer end(nil)
	s := &session{
		hub: h, stream: st, node: node, ctx: ctx, end: end, since: time.Now(), log: h.cfg.Log.With("node", node),
		bell: make(chan struct{}, 1), greeted: make(chan struct{}), calls: map[string]*call{}, candidates: map[string]*slicing.Cut{},
	}
	if p, ok := peer.FromContext(ctx); ok {
		s.address = p.Addr.String()
	}
	// Receiver and sender end when this handler has returned, if not before: a Recv, and a
	// Send to an agent that does not read, end no earlier than the stream.
	h.streams.Go(s.receive)
	err = s.run()
	s.abandon(err)
	return wireError(err)
}

// run greets the node and keeps what it says until the stream ends.
func (s *session) run() error {
	timer := time.NewTimer(helloTimeout)
	defer timer.Stop()
	select {
	case <-s.greeted:
	case <-timer.C:
		return status.Errorf(codes.InvalidArgument, "no Hello within %s", helloTimeout)
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	if err := s.hub.enter(s); err != nil {
		return err
	}
	s.log.InfoContext(s.ctx, "node connected", "address", s.address, "version", s.hello.GetVersion(), "revision", s.hello.GetRevision())
	s.hub.streams.Go(func() { s.end(s.send()) })
	s.hub.streams.Go(s.freshen)
	s.changed()
	<-s.ctx.Done()
	err := context.Cause(s.ctx)
	current := s.hub.leave(s)
	s.forget()
	s.log.InfoContext(s.ctx, "node disconnected", "reason", err, "replaced", !current)
	return err
}

// wireError is what the agent is told.
func wireError(err error) error {
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, errReplaced):
		return status.Error(codes.Aborted, err.Error())
	case errors.Is(err, errRemoved):
		return status.Error(codes.Unauthenticated, err.Error())
	case errors.Is(err, errClosing):
		return status.Error(codes.Unavailable, err.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, "the controller can't serve this stream; its log says why")
}

func (s *session) ring() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// aim sets what the node is to have. A new rollout sends again what was refused before: what
// failed is tried anew. Called with the hub's lock.
func (s *session) aim(target rollout.Target, number int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if number != s.number {
		if s.refused != "" && s.refused == target.Digest {
			s.sent = ""
		}
		s.refused = ""
	}
	s.target, s.number = target, number
	s.ring()
}

// send writes what is due until the session ends.
func (s *session) send() error {
	if err := s.write(&ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Welcome{Welcome: s.welcome()}}); err != nil {
		return err
	}
	for {
		message, err := s.next()
		if err != nil {
			return err
		}
		if message != nil {
			if err := s.write(message); err != nil {
				return err
			}
			continue
		}
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-s.bell:
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

// next takes the next message that is due: what is short first, contents last.
func (s *session) next() (*ktrdrv1.ControllerMessage, error) {
	s.mu.Lock()
	switch {
	case len(s.queue) > 0:
		message := s.queue[0]
		s.queue = s.queue[1:]
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
	s.mu.Unlock()
	return nil, nil //nolint:nilnil // nothing is due
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
		s.answers = s.answers[1:]
		s.mu.Unlock()
	}
	return &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Files{Files: batch}}, nil
}
