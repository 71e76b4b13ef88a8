package peers

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// maxBy bounds the name of who asked, in bytes.
const maxBy = 256

// Runner gives commands to nodes of this controller, and their events: hub.Hub.
type Runner interface {
	RunHere(ctx context.Context, r hub.Request) (*ktrdrv1.CommandResult, error)
	StreamEvents(ctx context.Context, q hub.EventQuery, each func(hub.Event) error, current func() error) error
}

// Cutter makes slices: slicing.Shelf.
type Cutter interface {
	Cut(ctx context.Context, revision, node string) (*slicing.Cut, error)
}

// Server answers ControllerService. The guard lets controllers in only. Safe for concurrent use.
type Server struct {
	ktrdrv1.UnimplementedControllerServiceServer

	Hub   Runner
	Shelf Cutter
}

// Forward gives a command to a node that is connected here.
func (s *Server) Forward(r *ktrdrv1.ForwardRequest, out grpc.ServerStreamingServer[ktrdrv1.ForwardResponse]) error {
	ctx := out.Context()
	command := r.GetCommand()
	name := nameOf(command)
	if err := pki.CheckName(pki.Node, r.GetNode()); err != nil {
		return status.Errorf(codes.InvalidArgument, "forward: %s", err)
	}
	if by := command.GetBy(); name == "" || by == "" || len(by) > maxBy {
		return status.Error(codes.InvalidArgument, "forward: a command needs a kind that this controller knows, and who asks")
	}
	access.Note(ctx, "", name+" for "+command.GetBy())
	result, err := s.Hub.RunHere(ctx, hub.Request{
		Node: r.GetNode(), Name: name, Command: command, Candidate: s.candidate(ctx, r.GetNode(), command),
		Output: func(o *ktrdrv1.CommandOutput) error {
			return out.Send(&ktrdrv1.ForwardResponse{Kind: &ktrdrv1.ForwardResponse_Output{Output: o}})
		},
	})
	if err != nil {
		return refused(err)
	}
	return out.Send(&ktrdrv1.ForwardResponse{Kind: &ktrdrv1.ForwardResponse_Result{Result: result}})
}

// maxEvents is how many events before now may be asked for, maxNames how many nodes.
const maxEvents, maxNames = 1000, 10_000

// Events gives what the hub here knows.
func (s *Server) Events(r *ktrdrv1.PeerEventsRequest, out grpc.ServerStreamingServer[ktrdrv1.PeerEventsResponse]) error {
	if len(r.GetNodes()) > maxNames {
		return status.Errorf(codes.InvalidArgument, "events: more than %d nodes are named", maxNames)
	}
	query := hub.EventQuery{Nodes: r.GetNodes(), Limit: min(max(int(r.GetLimit()), 0), maxEvents), Follow: r.GetFollow()}
	return s.Hub.StreamEvents(out.Context(), query,
		func(e hub.Event) error { return out.Send(&ktrdrv1.PeerEventsResponse{Node: e.Node, Event: e.Event}) },
		func() error { return out.Send(&ktrdrv1.PeerEventsResponse{}) })
}

// nameOf is the command's kind, as agents name it in Hello; "" for none.
func nameOf(c *ktrdrv1.Command) string {
	if c == nil {
		return ""
	}
	m := c.ProtoReflect()
	field := m.WhichOneof(m.Descriptor().Oneofs().ByName("kind"))
	if field == nil {
		return ""
	}
	return string(field.Name())
}

// candidate is the slice that a command is about, for contents that did not fit into it. A commit
// that nobody has accepted is not here: then the node has what came with the command.
func (s *Server) candidate(ctx context.Context, node string, c *ktrdrv1.Command) *slicing.Cut {
	slice := c.GetPlan().GetSlice()
	if slice == nil {
		slice = c.GetDoctor().GetSlice()
	}
	if slice == nil || len(slice.GetContents()) >= len(slice.GetFiles()) {
		return nil
	}
	cut, err := s.Shelf.Cut(ctx, slice.GetRevision(), node)
	if err != nil || cut.Digest != slice.GetDigest() {
		return nil
	}
	return cut
}

// refused is an error as the other controller's client reads it.
func refused(err error) error {
	code := codes.Internal
	switch {
	case errors.Is(err, hub.ErrNotConnected), errors.Is(err, hub.ErrElsewhere):
		code = codes.FailedPrecondition
	case errors.Is(err, hub.ErrUnsupported):
		code = codes.Unimplemented
	case errors.Is(err, hub.ErrBusy):
		code = codes.ResourceExhausted
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	return status.Error(code, err.Error())
}
