package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/controller/slicing"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// maxCalls is how many commands a node works on at the same time.
	maxCalls = 32
	// callBuffer is how much of an answer waits for the caller, in bytes; more is dropped, and
	// log lines in it counted. Parts are small, and many come at once after a pause of either side.
	callBuffer = 2 << 20
)

var (
	// ErrNotConnected tells that the node's agent is connected to no controller.
	ErrNotConnected = errors.New("its agent is not connected")
	// ErrElsewhere tells that the agent is connected to another controller.
	ErrElsewhere = errors.New("its agent is connected to another controller")
	// ErrUnsupported tells that the agent does not know the command.
	ErrUnsupported = errors.New("its agent does not know this command; update the agent")
	// ErrBusy tells of too many commands at once.
	ErrBusy = errors.New("it works on too many commands already; try again")
)

// Request is a command for a node.
type Request struct {
	Node string
	// Name of the command as in Hello.commands.
	Name string
	// Command without id and deadline; the deadline is that of the context.
	Command *ktrdrv1.Command
	// Candidate is the slice in the command; the node may ask for its contents. nil: none.
	Candidate *slicing.Cut
	// Output gets the parts of the answer in their order, in the caller's goroutine. Its error
	// ends the command. nil: they are dropped.
	Output func(*ktrdrv1.CommandOutput) error
}

// Run gives a command to a node and returns its result. When ctx ends, the agent is told to
// give up. A node at another controller gets it from that one, which is ErrElsewhere when it can't
// be asked. A node that is not connected is ErrNotConnected at once.
func (h *Hub) Run(ctx context.Context, r Request) (*ktrdrv1.CommandResult, error) {
	run := h.run
	if n, _ := h.board.get(r.Node); h.session(r.Node) == nil && n.Connected && h.cfg.Forward != nil {
		run = func(ctx context.Context, r Request) (*ktrdrv1.CommandResult, error) {
			return h.forward(ctx, n.Controller, r)
		}
	}
	result, err := run(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", r.Node, err)
	}
	return result, nil
}

// RunHere is Run for nodes of this controller only.
func (h *Hub) RunHere(ctx context.Context, r Request) (*ktrdrv1.CommandResult, error) {
	return h.run(ctx, r)
}

func (h *Hub) run(ctx context.Context, r Request) (*ktrdrv1.CommandResult, error) {
	s := h.session(r.Node)
	if s == nil {
		if n, _ := h.board.get(r.Node); n.Connected {
			return nil, fmt.Errorf("%w: %s; ask that one", ErrElsewhere, n.Controller)
		}
		return nil, ErrNotConnected
	}
	if !slices.Contains(s.hello.GetCommands(), r.Name) {
		return nil, ErrUnsupported
	}
	id, c, err := s.start(ctx, r)
	if err != nil {
		return nil, err
	}
	defer s.finish(id, r)
	if r.Output == nil {
		r.Output = func(*ktrdrv1.CommandOutput) error { return nil }
	}
	for {
		select {
		case <-c.filled:
			if err := s.hand(c, r.Output); err != nil {
				s.cancel(id)
				return nil, err
			}
		case result := <-c.result:
			return result, s.hand(c, r.Output)
		case <-ctx.Done():
			s.cancel(id)
			return nil, context.Cause(ctx)
		case <-s.ctx.Done():
			return nil, fmt.Errorf("the connection ended during the command: %w", ErrNotConnected)
		}
	}
}

func (s *session) start(ctx context.Context, r Request) (string, *call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) >= maxCalls || len(s.queue) >= maxQueue {
		return "", nil, ErrBusy
	}
	s.nextCall++
	id := strconv.FormatUint(s.nextCall, 10)
	command := &ktrdrv1.Command{Id: id, By: r.Command.GetBy(), Kind: r.Command.GetKind()}
	if deadline, ok := ctx.Deadline(); ok {
		command.Deadline = timestamppb.New(deadline)
	}
	c := &call{filled: make(chan struct{}, 1), result: make(chan *ktrdrv1.CommandResult, 1)}
	s.calls[id] = c
	if r.Candidate != nil {
		s.candidates[r.Candidate.Revision] = r.Candidate
	}
	s.queue = append(s.queue, &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Command{Command: command}})
	s.ring()
	return id, c, nil
}

func (s *session) finish(id string, r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, id)
	if r.Candidate != nil && s.candidates[r.Candidate.Revision] == r.Candidate {
		delete(s.candidates, r.Candidate.Revision)
	}
}

// cancel tells the agent; one that does not read finds out by the deadline.
func (s *session) cancel(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) < 2*maxQueue {
		s.queue = append(s.queue, &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Cancel{Cancel: &ktrdrv1.CancelCommand{Id: id}}})
		s.ring()
	}
}
