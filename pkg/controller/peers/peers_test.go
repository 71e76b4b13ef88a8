package peers_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/peers"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
	"ktrdr.io/fleet/test/leaks"
	"ktrdr.io/fleet/test/port"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// node is a hub with one node, which answers with err or not at all.
type node struct {
	err   error
	got   hub.Request
	asked hub.EventQuery
}

func (n *node) RunHere(_ context.Context, r hub.Request) (*ktrdrv1.CommandResult, error) {
	n.got = r
	return &ktrdrv1.CommandResult{Message: "done"}, n.err
}

func (n *node) StreamEvents(_ context.Context, q hub.EventQuery, each func(hub.Event) error, current func() error) error {
	n.asked = q
	for i := range 3 {
		if err := each(hub.Event{Node: "b", Event: &ktrdrv1.Event{Seq: uint64(i + 1)}}); err != nil { //nolint:gosec // small
			return err
		}
	}
	return current()
}

func (*node) Cut(context.Context, string, string) (*slicing.Cut, error) {
	return nil, errors.New("nothing is here")
}

// answers is the server's end of a stream.
type answers struct {
	grpc.ServerStream
	ctx  context.Context //nolint:containedctx // a stream has one
	sent []*ktrdrv1.ForwardResponse
}

func (a *answers) Context() context.Context { return a.ctx }

func (a *answers) Send(r *ktrdrv1.ForwardResponse) error { a.sent = append(a.sent, r); return nil }

func hold(by string) *ktrdrv1.Command {
	return &ktrdrv1.Command{By: by, Kind: &ktrdrv1.Command_Hold{Hold: &ktrdrv1.HoldCommand{Stack: "core"}}}
}

func TestServer(t *testing.T) {
	for _, test := range []struct {
		what    string
		request *ktrdrv1.ForwardRequest
		err     error
		want    codes.Code
	}{
		{"a command", &ktrdrv1.ForwardRequest{Node: "b", Command: hold("operator/karl")}, nil, codes.OK},
		{"no command", &ktrdrv1.ForwardRequest{Node: "b"}, nil, codes.InvalidArgument},
		{"a kind from the future", &ktrdrv1.ForwardRequest{Node: "b", Command: &ktrdrv1.Command{By: "operator/karl"}}, nil, codes.InvalidArgument},
		{"for nobody", &ktrdrv1.ForwardRequest{Node: "b", Command: hold("")}, nil, codes.InvalidArgument},
		{"for somebody with a very long name", &ktrdrv1.ForwardRequest{Node: "b", Command: hold(strings.Repeat("x", 300))}, nil, codes.InvalidArgument},
		{"no node", &ktrdrv1.ForwardRequest{Node: "../b", Command: hold("operator/karl")}, nil, codes.InvalidArgument},
		{"a node that is gone", &ktrdrv1.ForwardRequest{Node: "b", Command: hold("operator/karl")}, hub.ErrNotConnected, codes.FailedPrecondition},
		{"a node that moved", &ktrdrv1.ForwardRequest{Node: "b", Command: hold("operator/karl")}, hub.ErrElsewhere, codes.FailedPrecondition},
		{"an old agent", &ktrdrv1.ForwardRequest{Node: "b", Command: hold("operator/karl")}, hub.ErrUnsupported, codes.Unimplemented},
		{"a busy node", &ktrdrv1.ForwardRequest{Node: "b", Command: hold("operator/karl")}, hub.ErrBusy, codes.ResourceExhausted},
		{"a slow node", &ktrdrv1.ForwardRequest{Node: "b", Command: hold("operator/karl")}, context.DeadlineExceeded, codes.DeadlineExceeded},
	} {
		n := &node{}
		if test.err != nil {
			n.err = fmt.Errorf("node b: %w", test.err)
		}
		out := &answers{ctx: t.Context()}
		err := (&peers.Server{Hub: n, Shelf: n}).Forward(test.request, out)
		if status.Code(err) != test.want {
			t.Errorf("%s: %v, want %s", test.what, err, test.want)
		}
		if asked := n.got.Node != ""; asked == (test.want == codes.InvalidArgument) {
			t.Errorf("%s: the hub is asked: %v", test.what, asked)
		}
		if test.want == codes.OK && (len(out.sent) != 1 || out.sent[0].GetResult().GetMessage() != "done" || n.got.Name != "hold") {
			t.Errorf("%s: %v, %+v", test.what, out.sent, n.got)
		}
	}
}

// told is the server's end of a stream of events.
type told struct {
	answers
	events []*ktrdrv1.PeerEventsResponse
}

func (a *told) Send(r *ktrdrv1.PeerEventsResponse) error { a.events = append(a.events, r); return nil }

// TestEvents: what a hub has, and where it is current; bounded, whatever is asked.
func TestEvents(t *testing.T) {
	n, out := &node{}, &told{answers: answers{ctx: t.Context()}}
	s := &peers.Server{Hub: n, Shelf: n}
	if err := s.Events(&ktrdrv1.PeerEventsRequest{Nodes: []string{"b"}, Limit: 1 << 30, Follow: true}, out); err != nil {
		t.Fatal(err)
	}
	if len(out.events) != 4 || out.events[2].GetEvent().GetSeq() != 3 || out.events[2].GetNode() != "b" || out.events[3].GetEvent() != nil {
		t.Errorf("%v", out.events)
	}
	if n.asked.Limit != 1000 || !n.asked.Follow || len(n.asked.Nodes) != 1 {
		t.Errorf("the hub is asked for %+v", n.asked)
	}
	if err := s.Events(&ktrdrv1.PeerEventsRequest{Nodes: make([]string, 20_000)}, out); status.Code(err) != codes.InvalidArgument {
		t.Errorf("20,000 nodes: %v", err)
	}
}

// TestAnotherControllerIsAway: the error says which one to ask.
func TestAnotherControllerIsAway(t *testing.T) {
	address := port.Reserve(t)
	var unknown error
	c := &peers.Client{
		Address: func(context.Context, string) (string, error) { return address, unknown },
		TLS:     func() (*tls.Config, error) { return wire.TrustTLS(x509.NewCertPool()), nil },
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := c.Forward(ctx, "c2-1234", hub.Request{Node: "b", Command: hold("operator/karl")})
	if !errors.Is(err, hub.ErrElsewhere) || !strings.Contains(err.Error(), "c2-1234 at "+address) || !strings.Contains(err.Error(), "give the command to that one") {
		t.Errorf("nobody listens: %v", err)
	}
	unknown = errors.New("no such record")
	if _, err = c.Forward(ctx, "c2-1234", hub.Request{Node: "b", Command: hold("operator/karl")}); !errors.Is(err, hub.ErrElsewhere) || !errors.Is(err, unknown) {
		t.Errorf("nobody knows where it is: %v", err)
	}
}
