package uplinktest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
	"ktrdr.io/fleet/test/port"
)

// Patience is how long Eventually waits.
const Patience = time.Minute

// Fault looks at each message before the controller sends it (the n-th of all streams,
// from 1), and may change it. An error ends the stream.
type Fault func(ctx context.Context, n int, m *ktrdrv1.ControllerMessage) error

// Heard looks at each message of the agent before it counts. An error ends the stream.
type Heard func(ctx context.Context, n int, m *ktrdrv1.AgentMessage) error

// Controller is one controller.
type Controller struct {
	ktrdrv1.UnimplementedAgentServiceServer
	ktrdrv1.UnimplementedEnrollmentServiceServer

	// Authority of the fleet.
	Authority *pki.Authority
	// Addr is host:port. A controller that was stopped keeps it.
	Addr string

	stop func()

	mu    sync.Mutex
	fault Fault
	heard Heard
	skew  time.Duration
	state state
	// tap has every message of agents as it came over the wire.
	tap []byte
	// changed is closed when state changed.
	changed chan struct{}
	stream  *stream
}

// state is what the controller knows.
type state struct {
	slice     *ktrdrv1.Slice
	contents  map[string][]byte // by SHA-256, also of slices that are planned
	connected bool
	streams   int
	hellos    []*ktrdrv1.Hello
	statuses  []*ktrdrv1.StatusUpdate
	events    map[string][]*ktrdrv1.Event // by run
	results   []*ktrdrv1.SliceResult
	requests  []*ktrdrv1.FileRequest
	commands  map[string]*Answer
	sent, got int
	tokens    map[string]bool // ids of tokens that were redeemed
	renewed   int
	removed   map[string]bool // nodes whose certificates count no more
}

// Answer is what came of a command.
type Answer struct {
	Logs    []*ktrdrv1.LogLine
	Dropped uint64
	Checks  []*ktrdrv1.Check
	Result  *ktrdrv1.CommandResult
}

// Start starts a controller that stops when the test ends.
func Start(t testing.TB) *Controller {
	t.Helper()
	a, err := pki.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &Controller{Authority: a, Addr: port.Reserve(t), changed: make(chan struct{})}
	c.state = state{
		contents: map[string][]byte{}, events: map[string][]*ktrdrv1.Event{}, commands: map[string]*Answer{}, tokens: map[string]bool{},
	}
	c.Up(t)
	t.Cleanup(c.Down)
	return c
}

// Up starts a controller that is down.
func (c *Controller) Up(t testing.TB) {
	t.Helper()
	cert, err := c.Authority.IssueServer([]string{"localhost"}, []netip.Addr{netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(context.WithoutCancel(t.Context()), "tcp", c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	front := wire.NewPort(l, wire.NewServerIdentity(cert, c.Authority.Pool()), wire.DefaultPortLimits())
	// What is too large is the agent's to refuse.
	rpc := grpc.NewServer(append(wire.ServerOptions(), grpc.MaxSendMsgSize(1<<30))...)
	ktrdrv1.RegisterAgentServiceServer(rpc, c)
	ktrdrv1.RegisterEnrollmentServiceServer(rpc, c)
	ktrdrv1.RegisterAccessServiceServer(rpc, access{c: c})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return front.Serve(ctx) })
	g.Go(func() error {
		if err := rpc.Serve(front.GRPC()); !errors.Is(err, net.ErrClosed) && !errors.Is(err, grpc.ErrServerStopped) {
			return err
		}
		return nil
	})
	web := &http.Server{Handler: http.HandlerFunc(c.answerHTTP), ReadHeaderTimeout: Patience}
	g.Go(func() error {
		if err := web.Serve(front.HTTP()); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	c.stop = sync.OnceFunc(func() {
		rpc.Stop()
		_ = web.Close()
		cancel()
		if err := g.Wait(); err != nil {
			t.Errorf("serve the controller: %v", err)
		}
	})
}

// answerHTTP answers as if it were healthy, with the time of the controller's clock.
func (c *Controller) answerHTTP(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Date", time.Now().Add(c.skew).UTC().Format(http.TimeFormat))
}

// SetSkew makes the controller's clock wrong for HTTP.
func (c *Controller) SetSkew(d time.Duration) { c.change(func(*state) { c.skew = d }) }

// Down stops the controller; connections are cut.
func (c *Controller) Down() { c.stop() }

// SetFault replaces what happens to messages to the agent; nil: nothing.
func (c *Controller) SetFault(f Fault) { c.change(func(*state) { c.fault = f }) }

// SetHeard replaces what happens to messages of the agent; nil: nothing.
func (c *Controller) SetHeard(h Heard) { c.change(func(*state) { c.heard = h }) }

// change changes the state and wakes who waits.
func (c *Controller) change(f func(*state)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.state)
	close(c.changed)
	c.changed = make(chan struct{})
}

// Cut ends the present stream.
func (c *Controller) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream != nil {
		c.stream.cut()
	}
}

// Send sends any message on the present stream.
func (c *Controller) Send(t testing.TB, m *ktrdrv1.ControllerMessage) {
	t.Helper()
	c.mu.Lock()
	s := c.stream
	c.mu.Unlock()
	if s == nil {
		t.Fatal("no agent is connected")
	}
	select {
	case s.out <- m:
	case <-s.done:
	case <-time.After(Patience):
		t.Fatal("the agent takes no message")
	}
}

// Tap returns every message of agents as it came over the wire, without TLS.
func (c *Controller) Tap() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.tap...)
}

// eventually waits until cond is true of the state.
func (c *Controller) eventually(t testing.TB, what string, cond func(*state) bool) {
	t.Helper()
	deadline := time.After(Patience)
	for {
		c.mu.Lock()
		ok, changed := cond(&c.state), c.changed
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited %s for: %s", Patience, what)
		}
	}
}

// note records a message of the agent.
func (c *Controller) note(m *ktrdrv1.AgentMessage, run string) error {
	raw, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("marshal what came: %w", err)
	}
	c.change(func(s *state) {
		c.tap = append(c.tap, raw...)
		switch kind := m.GetKind().(type) {
		case *ktrdrv1.AgentMessage_Hello:
			s.hellos = append(s.hellos, kind.Hello)
		case *ktrdrv1.AgentMessage_Status:
			s.statuses = append(s.statuses, kind.Status)
		case *ktrdrv1.AgentMessage_Events:
			s.events[run] = append(s.events[run], kind.Events.GetEvents()...)
		case *ktrdrv1.AgentMessage_SliceResult:
			s.results = append(s.results, kind.SliceResult)
		case *ktrdrv1.AgentMessage_FileRequest:
			s.requests = append(s.requests, kind.FileRequest)
		case *ktrdrv1.AgentMessage_Output:
			a := s.answer(kind.Output.GetId())
			a.Logs = append(a.Logs, kind.Output.GetLogs().GetLines()...)
			a.Dropped += kind.Output.GetLogs().GetDropped()
			if row := kind.Output.GetCheck(); row != nil {
				a.Checks = append(a.Checks, row)
			}
		case *ktrdrv1.AgentMessage_Result:
			s.answer(kind.Result.GetId()).Result = kind.Result
		}
	})
	return nil
}

func (s *state) answer(id string) *Answer {
	if s.commands[id] == nil {
		s.commands[id] = &Answer{}
	}
	return s.commands[id]
}
