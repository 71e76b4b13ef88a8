package hub

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

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

// session is one stream of one node. Its handler's goroutine waits for the end and one
// receives; one that sends comes and goes. What is to be sent is state, not a queue, so that
// a slow agent costs nothing.
type session struct {
	hub     *Hub
	stream  stream
	node    string
	address string
	since   time.Time
	ctx     context.Context //nolint:containedctx // the stream's own: its life is what this type is
	end     context.CancelCauseFunc
	log     *slog.Logger
	keeping keeping
	greeted chan struct{}
	hello   *ktrdrv1.Hello

	mu sync.Mutex
	// open since the node was greeted until the end; sending while a goroutine does.
	open, sending bool
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
		greeted: make(chan struct{}), calls: map[string]*call{}, candidates: map[string]*slicing.Cut{},
	}
	if p, ok := peer.FromContext(ctx); ok {
		s.address = p.Addr.String()
	}
	h.streams.Add(1)
	defer h.streams.Done()
	// Receiver and sender end when this handler has returned, if not before: a Recv, and a
	// Send to an agent that does not read, end no earlier than the stream.
	h.streams.Go(s.receive)
	err = s.run()
	s.abandon(err)
	return wireError(err)
}

// run greets the node and keeps what it says until the stream ends.
func (s *session) run() error {
	if err := s.meet(); err != nil {
		return err
	}
	if err := s.hub.enter(s); err != nil {
		return err
	}
	s.log.InfoContext(s.ctx, "node connected", "address", s.address, "version", s.hello.GetVersion(), "revision", s.hello.GetRevision())
	s.begin()
	s.hub.streams.Go(s.freshen)
	s.changed()
	<-s.ctx.Done()
	err := context.Cause(s.ctx)
	current := s.hub.leave(s)
	s.forget()
	s.log.InfoContext(s.ctx, "node disconnected", "reason", err, "replaced", !current)
	return err
}

// meet waits until the agent has said who it is.
func (s *session) meet() error {
	timer := time.NewTimer(helloTimeout)
	defer timer.Stop()
	select {
	case <-s.greeted:
		return nil
	case <-timer.C:
		return status.Errorf(codes.InvalidArgument, "no Hello within %s", helloTimeout)
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
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
