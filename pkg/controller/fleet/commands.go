package fleet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// commandTimeout bounds a command that does little on a node.
	commandTimeout = 30 * time.Second
	// atOnce is how many nodes work on one call at the same time.
	atOnce = 64
)

// Reasons for which a node gives no answer.
const (
	reasonTimeout     = "CommandTimeout"
	reasonElsewhere   = "ConnectedElsewhere"
	reasonUnsupported = "CommandUnsupported"
	reasonBusy        = "NodeBusy"
)

// failure is what is told of a node that gave no answer.
func failure(node string, err error) *ktrdrv1.NodeResult {
	out := &ktrdrv1.NodeResult{Node: node, Reason: "CommandFailed", Message: wire.Text(cut(err.Error(), 1<<10))}
	switch {
	case errors.Is(err, hub.ErrNotConnected):
		out.Reason = "Unreachable"
	case errors.Is(err, hub.ErrElsewhere):
		out.Reason = reasonElsewhere
	case errors.Is(err, hub.ErrUnsupported):
		out.Reason = reasonUnsupported
	case errors.Is(err, hub.ErrBusy):
		out.Reason = reasonBusy
	case errors.Is(err, context.DeadlineExceeded):
		out.Reason, out.Message = reasonTimeout, "node "+node+" did not answer in time"
	}
	return out
}

// outcomeOf is how a command ended that answers with nothing else.
func outcomeOf(node string, result *ktrdrv1.CommandResult, err error) *ktrdrv1.NodeResult {
	if err != nil {
		return failure(node, err)
	}
	return &ktrdrv1.NodeResult{Node: node, Reason: wire.Text(cut(result.GetReason(), 100)), Message: wire.Text(cut(result.GetMessage(), 4<<10))}
}

// share cuts what nodes say so that all of it fits into one reply.
func share(results []*ktrdrv1.NodeResult) {
	limit := replySize / 2 / max(1, len(results))
	for _, r := range results {
		r.Message = wire.Text(cut(r.GetMessage(), max(limit, 100)))
	}
}

// onNodes gives a command to nodes and returns how each ended, sorted.
func (s *Service) onNodes(ctx context.Context, nodes []string, name string, command func(node string) *ktrdrv1.Command) *ktrdrv1.NodeResults {
	out := &ktrdrv1.NodeResults{}
	var mu sync.Mutex
	s.each(ctx, nodes, commandTimeout, func(ctx context.Context, node string) {
		result, err := s.cfg.Hub.Run(ctx, hub.Request{Node: node, Name: name, Command: command(node)})
		mu.Lock()
		defer mu.Unlock()
		out.Results = append(out.Results, outcomeOf(node, result, err))
	})
	slices.SortFunc(out.GetResults(), func(x, y *ktrdrv1.NodeResult) int { return strings.Compare(x.GetNode(), y.GetNode()) })
	share(out.GetResults())
	return out
}

// each calls do for all nodes, some at the same time, each with a time limit (0: none), and
// waits.
func (*Service) each(ctx context.Context, nodes []string, limit time.Duration, do func(ctx context.Context, node string)) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, node := range nodes {
		g.Go(func() error {
			call := ctx
			if limit > 0 {
				var cancel context.CancelFunc
				call, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
			}
			do(call, node)
			return nil
		})
	}
	_ = g.Wait() // none returns an error
}

// nodesOf are the named nodes, or all that have the stack ("" for any); those named have to
// have it.
func (s *Service) nodesOf(ctx context.Context, stack string, names []string) ([]string, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	known := s.cfg.Hub.News(0).Nodes
	if err := v.check(known, names); err != nil {
		return nil, err
	}
	var out []string
	for _, name := range v.names(known) {
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		if has := stack == "" || v.has(name, stack); !has && len(names) > 0 {
			return nil, status.Errorf(codes.NotFound, "node %s has no stack %.80q", name, stack)
		} else if has {
			out = append(out, name)
		}
	}
	if len(out) == 0 && stack != "" {
		return nil, status.Errorf(codes.NotFound, "no node has a stack %.80q", stack)
	}
	return out, nil
}

func (v *view) has(node, stack string) bool {
	return slices.ContainsFunc(v.outline.Nodes[node].Spec.Stacks, func(s api.NodeStack) bool { return s.Name == stack })
}

// Hold suspends changes of a stack on connected nodes.
func (s *Service) Hold(ctx context.Context, r *ktrdrv1.HoldRequest) (*ktrdrv1.NodeResults, error) {
	if r.GetStack() == "" || len(r.GetWhy()) > maxWhy {
		return nil, status.Errorf(codes.InvalidArgument, "hold: name a stack, and say why in at most %d bytes", maxWhy)
	}
	nodes, err := s.nodesOf(ctx, r.GetStack(), r.GetNodes())
	if err != nil {
		return nil, s.failed(ctx, "hold stack "+cut(r.GetStack(), 80), err)
	}
	hold := &ktrdrv1.Hold{Until: r.GetUntil(), Why: r.GetWhy(), Who: by(ctx), Since: wire.Timestamp(time.Now())}
	return s.onNodes(ctx, nodes, "hold", func(string) *ktrdrv1.Command {
		return &ktrdrv1.Command{By: by(ctx), Kind: &ktrdrv1.Command_Hold{Hold: &ktrdrv1.HoldCommand{Stack: r.GetStack(), Hold: hold}}}
	}), nil
}

// Resume ends holds and quarantines.
func (s *Service) Resume(ctx context.Context, r *ktrdrv1.ResumeRequest) (*ktrdrv1.NodeResults, error) {
	if r.GetStack() == "" {
		return nil, status.Error(codes.InvalidArgument, "resume: name a stack")
	}
	nodes, err := s.nodesOf(ctx, r.GetStack(), r.GetNodes())
	if err != nil {
		return nil, s.failed(ctx, "resume stack "+cut(r.GetStack(), 80), err)
	}
	return s.onNodes(ctx, nodes, "resume", func(string) *ktrdrv1.Command {
		return &ktrdrv1.Command{By: by(ctx), Kind: &ktrdrv1.Command_Resume{Resume: &ktrdrv1.ResumeCommand{Stack: r.GetStack()}}}
	}), nil
}

// Sync makes the controller look at its repository and nodes at their secrets, now.
func (s *Service) Sync(ctx context.Context, r *ktrdrv1.SyncRequest) (*ktrdrv1.NodeResults, error) {
	nodes, err := s.nodesOf(ctx, "", r.GetNodes())
	if err != nil {
		return nil, s.failed(ctx, "sync", err)
	}
	var looked *ktrdrv1.NodeResult
	if s.cfg.Look != nil {
		if err := s.cfg.Look(ctx); err != nil {
			looked = &ktrdrv1.NodeResult{Reason: string(api.ReasonSourceFailed), Message: wire.Text(cut(err.Error(), 1<<10))}
		}
	}
	out := s.onNodes(ctx, nodes, "sync", func(string) *ktrdrv1.Command {
		return &ktrdrv1.Command{By: by(ctx), Kind: &ktrdrv1.Command_Sync{Sync: &ktrdrv1.SyncCommand{}}}
	})
	if looked != nil {
		out.Results = append([]*ktrdrv1.NodeResult{looked}, out.GetResults()...)
	}
	return out, nil
}

// References lists secret references and who uses them; never a value.
func (s *Service) References(ctx context.Context, r *ktrdrv1.ReferencesRequest) (*ktrdrv1.ReferencesResponse, error) {
	nodes, err := s.connectedOr(ctx, r.GetNodes())
	if err != nil {
		return nil, s.failed(ctx, "list references", err)
	}
	out, size := &ktrdrv1.ReferencesResponse{}, 0
	var mu sync.Mutex
	s.each(ctx, nodes, commandTimeout, func(ctx context.Context, node string) {
		command := &ktrdrv1.Command{By: by(ctx), Kind: &ktrdrv1.Command_Secrets{Secrets: &ktrdrv1.SecretsCommand{}}}
		result, err := s.cfg.Hub.Run(ctx, hub.Request{Node: node, Name: "secrets", Command: command})
		mu.Lock()
		defer mu.Unlock()
		if answer := result.GetSecrets(); err == nil && answer != nil && result.GetReason() == "" {
			answer.Node = node // whatever the agent says
			if size += proto.Size(answer); len(out.GetNodes()) == 0 || size <= replySize/2 {
				out.Nodes = append(out.Nodes, answer)
				return
			}
			result, err = &ktrdrv1.CommandResult{Reason: reasonFull, Message: "its answer does not fit into the message: ask for it with --node"}, nil
		}
		out.Failed = append(out.Failed, outcomeOf(node, result, err))
	})
	slices.SortFunc(out.GetNodes(), func(x, y *ktrdrv1.SecretsStatus) int { return strings.Compare(x.GetNode(), y.GetNode()) })
	slices.SortFunc(out.GetFailed(), func(x, y *ktrdrv1.NodeResult) int { return strings.Compare(x.GetNode(), y.GetNode()) })
	share(out.GetFailed())
	return out, nil
}

// connectedOr are the named nodes, else those that are connected anywhere.
func (s *Service) connectedOr(ctx context.Context, names []string) ([]string, error) {
	if len(names) > 0 {
		return s.nodesOf(ctx, "", names)
	}
	var out []string
	for _, n := range s.cfg.Hub.News(0).Nodes {
		if n.Connected {
			out = append(out, n.Name)
		}
	}
	return out, nil
}
