package peers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Client forwards commands. Safe for concurrent use.
type Client struct {
	// Address of a running controller as host:port, by its id. Required.
	Address func(ctx context.Context, id string) (string, error)
	// TLS shows this controller's certificate and trusts the fleet's authority. Required.
	TLS func() (*tls.Config, error)
	// Options are added to those of connections and win over them; for tests.
	Options []grpc.DialOption

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn // by address
}

// Forward gives a command to a node of another controller, as hub.Hub.Run does to one of this.
// A controller that can't be asked is hub.ErrElsewhere, with its address.
func (c *Client) Forward(ctx context.Context, id string, r hub.Request) (*ktrdrv1.CommandResult, error) {
	address, err := c.Address(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("%w, %s, whose address can't be found: %w", hub.ErrElsewhere, id, err)
	}
	conn, err := c.conn(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", hub.ErrElsewhere, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := ktrdrv1.NewControllerServiceClient(conn).Forward(ctx, &ktrdrv1.ForwardRequest{Node: r.Node, Command: r.Command})
	if err != nil {
		return nil, told(ctx, err, id, address)
	}
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("controller %s at %s ends the answer before its end", id, address)
		}
		if err != nil {
			return nil, told(ctx, err, id, address)
		}
		if result := answer.GetResult(); result != nil {
			return result, nil
		}
		if out := answer.GetOutput(); out != nil && r.Output != nil {
			if logs := out.GetLogs(); logs != nil {
				for _, line := range logs.GetLines() {
					line.Node = r.Node
				}
			}
			if err := r.Output(out); err != nil {
				return nil, err
			}
		}
	}
}

// Events gives the events of another controller as its hub does: each without an event is the end
// of those before now. It ends with ctx, with each, or with the connection.
func (c *Client) Events(ctx context.Context, id string, r *ktrdrv1.PeerEventsRequest, each func(*ktrdrv1.PeerEventsResponse) error) error {
	address, err := c.Address(ctx, id)
	if err != nil {
		return fmt.Errorf("controller %s, whose address can't be found: %w", id, err)
	}
	conn, err := c.conn(address)
	if err != nil {
		return fmt.Errorf("controller %s at %s: %w", id, address, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := ktrdrv1.NewControllerServiceClient(conn).Events(ctx, r)
	for err == nil {
		var e *ktrdrv1.PeerEventsResponse
		if e, err = stream.Recv(); err != nil {
			break
		}
		if err := each(e); err != nil {
			return err
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("controller %s at %s: %s", id, address, status.Convert(err).Message())
}

// told makes the hub's errors of what the other controller said.
func told(ctx context.Context, err error, id, address string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	said := status.Convert(err).Message()
	switch status.Code(err) { //nolint:exhaustive // the others are the other controller's trouble
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	case codes.FailedPrecondition:
		return fmt.Errorf("%w (says controller %s)", hub.ErrNotConnected, id)
	case codes.Unimplemented:
		return fmt.Errorf("%w (controller %s at %s: %s)", hub.ErrUnsupported, id, address, said)
	case codes.ResourceExhausted:
		return fmt.Errorf("%w (says controller %s)", hub.ErrBusy, id)
	}
	return fmt.Errorf("%w, %s at %s, which can't be asked from here (%s): give the command to that one", hub.ErrElsewhere, id, address, said)
}

func (c *Client) conn(address string) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn, ok := c.conns[address]; ok {
		if conn.GetState() == connectivity.TransientFailure {
			conn.ResetConnectBackoff() // who asks waits for it, and it may be back
		}
		return conn, nil
	}
	conn, err := wire.Dial(wire.Client{Target: address, TLS: c.TLS, Options: append([]grpc.DialOption{wire.Attentive()}, c.Options...)})
	if err != nil {
		return nil, err
	}
	if c.conns == nil {
		c.conns = map[string]*grpc.ClientConn{}
	}
	c.conns[address] = conn
	return conn, nil
}

// Close ends all connections and what is under way on them.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	c.conns = nil
	return errors.Join(errs...)
}
