package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/api"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// queued bounds the messages that wait for the stream.
const queued = 32

// session is one stream.
type session struct {
	link   *Link
	stream agentStream
	// urgent goes before output.
	urgent, output chan *ktrdrv1.AgentMessage
	interval       time.Duration
	statusAcks     chan uint64
	eventAcks      chan uint64
	judged         chan struct{}
	// moved rings when a revision came into force: the status names its slice.
	moved chan struct{}
	// ended is closed when nothing is sent any more.
	ended  chan struct{}
	cancel context.CancelCauseFunc
	// renewals is what the link counted when the stream began.
	renewals int
	answers  *answers
	commands *commands

	mu sync.Mutex
	// told is the last verdict that was sent; a new slice makes it count no more.
	told verdict
}

type agentStream = grpc.BidiStreamingClient[ktrdrv1.AgentMessage, ktrdrv1.ControllerMessage]

func newSession(l *Link, stream agentStream, cancel context.CancelCauseFunc) *session {
	s := &session{
		link: l, stream: stream, cancel: cancel, ended: make(chan struct{}), answers: newAnswers(),
		urgent: make(chan *ktrdrv1.AgentMessage, queued), output: make(chan *ktrdrv1.AgentMessage, queued),
		statusAcks: make(chan uint64, 1), eventAcks: make(chan uint64, 1), judged: make(chan struct{}, 1),
		moved: make(chan struct{}, 1),
	}
	s.commands = newCommands(s)
	return s
}

// connect opens a stream and serves it until it ends. It returns how long the stream was
// of use; the error is never nil.
func (l *Link) connect(ctx context.Context, endpoint string) (time.Duration, error) {
	l.mu.Lock()
	renewals := l.renewals
	l.mu.Unlock()
	conn, err := l.cfg.Dial(endpoint)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := ktrdrv1.NewAgentServiceClient(conn).Connect(ctx)
	if err != nil {
		return 0, explain(ctx, err)
	}
	s := newSession(l, stream, cancel)
	s.renewals = renewals
	welcome, err := s.greet(ctx, cancel)
	if err != nil {
		return 0, explain(ctx, err)
	}
	began := time.Now()
	err = s.serve(ctx, cancel, endpoint, welcome)
	return time.Since(began), explain(ctx, err)
}

// ErrRefused says that a controller does not accept the node's certificate.
var ErrRefused = errors.New("the controller refuses this node's certificate")

// explain prefers why a stream was given up to what that looks like.
func explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the controller ended the stream")
	case err == nil:
		return errors.New("the stream ended")
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	text := "the controller says"
	switch st.Code() { //nolint:exhaustive // the others are no news
	case codes.Unavailable:
		text = "the controller can't be reached"
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("%w: %s: %s", ErrRefused, st.Code(), st.Message())
	}
	if strings.Contains(st.Message(), "remote error: tls: ") {
		return fmt.Errorf("%w: %s", ErrRefused, st.Message())
	}
	return fmt.Errorf("%s: %s: %s", text, st.Code(), st.Message())
}

// greet says hello and waits for the answer.
func (s *session) greet(ctx context.Context, cancel context.CancelCauseFunc) (*ktrdrv1.Welcome, error) {
	limit := s.link.cfg.Timing.Welcome
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("the controller sent no welcome within %s", limit)) })
	defer timer.Stop()
	if err := s.stream.Send(&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Hello{Hello: s.link.hello()}}); err != nil {
		// The stream's own error says why.
		if _, cause := s.stream.Recv(); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	m, err := s.stream.Recv()
	if err != nil {
		return nil, err
	}
	welcome := m.GetWelcome()
	if welcome == nil {
		return nil, errors.New("the first message of the controller is no welcome; its version may not fit this agent's")
	}
	return welcome, ctx.Err()
}

func (l *Link) hello() *ktrdrv1.Hello {
	rev, _ := l.cfg.Source.InForce()
	return &ktrdrv1.Hello{
		Version: api.Version, Commit: api.Commit, Platform: platform(), RunId: l.runID, Commands: l.known(),
		SliceDigest: rev.Digest, Revision: rev.ID,
	}
}

func (s *session) serve(ctx context.Context, cancel context.CancelCauseFunc, endpoint string, w *ktrdrv1.Welcome) error {
	s.interval = statusInterval(w)
	s.link.learn(w.GetEndpoints())
	s.link.change(func() {
		s.link.session = s
		if s.link.renewals != s.renewals {
			cancel(errRenewed)
		}
		s.link.kept = w.GetEventsSeen() // what another controller has, or one before a restart, this one lacks
		s.link.state = api.Link{Connected: true, Endpoint: endpoint, Controller: clean(w.GetController(), maxName), Since: time.Now()}
	})
	s.link.cfg.Log.InfoContext(ctx, "connected to the controller", "endpoint", endpoint, "controller", s.link.State().Controller)
	s.link.cfg.Source.Online(bringer{s})
	g, ctx := errgroup.WithContext(ctx)
	for _, part := range []func(context.Context) error{s.tellStatus, s.tellEvents, s.tellVerdicts} {
		g.Go(func() error { return part(ctx) })
	}
	g.Go(func() error {
		err := s.read(ctx)
		cancel(err) // nothing that waits for the controller has to wait any longer
		return err
	})
	g.Go(func() error { return s.write(ctx, cancel) })
	err := g.Wait()
	close(s.ended)
	s.commands.end()
	return err
}

// read hands on what comes. It ends with the stream.
func (s *session) read(ctx context.Context) error {
	for {
		m, err := s.stream.Recv()
		if err != nil {
			return err
		}
		if err := s.take(ctx, m); err != nil {
			return err
		}
	}
}

// write is the only one that sends. Messages that are urgent go first; a controller that
// does not read for long is given up.
func (s *session) write(ctx context.Context, cancel context.CancelCauseFunc) error {
	limit := s.link.cfg.Timing.Send
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("the controller has read nothing for %s", limit)) })
	defer timer.Stop()
	for {
		timer.Stop()
		m, err := s.next(ctx)
		if err != nil {
			return err
		}
		if err := prepare(m, s.link.cfg.Redact); err != nil {
			s.link.cfg.Log.ErrorContext(ctx, "a message to the controller is left out", "err", err)
			continue
		}
		timer.Reset(limit)
		if err := s.stream.Send(m); err != nil {
			return nil // read tells why
		}
	}
}

func (s *session) next(ctx context.Context) (*ktrdrv1.AgentMessage, error) {
	select {
	case m := <-s.urgent:
		return m, nil
	default:
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case m := <-s.urgent:
		return m, nil
	case m := <-s.output:
		return m, nil
	}
}

var errEnded = errors.New("the connection was lost")

// send queues an urgent message.
func (s *session) send(ctx context.Context, m *ktrdrv1.AgentMessage) error {
	select {
	case s.urgent <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ended:
		return errEnded
	}
}
