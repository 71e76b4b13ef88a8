package fleet

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// planTimeout bounds the plan of one node.
const planTimeout = 2 * time.Minute

// PlanFleet plans a revision or a change on the nodes, against their live engines. A node's
// plan is sent as soon as it is there.
func (s *Service) PlanFleet(r *ktrdrv1.PlanFleetRequest, out grpc.ServerStreamingServer[ktrdrv1.NodePlan]) error {
	ctx := out.Context()
	id, err := s.plannedRevision(ctx, r)
	if err != nil {
		return s.failed(ctx, "plan", err)
	}
	defer s.hold(id)()
	tree, err := s.planned(ctx, id)
	if err != nil {
		return s.failed(ctx, "plan", err)
	}
	defer tree.Close() //nolint:errcheck // a folder that was only read
	nodes, err := s.connectedOr(ctx, r.GetNodes())
	if err != nil {
		return s.failed(ctx, "plan", err)
	}
	var mu sync.Mutex
	var failed error
	s.each(ctx, nodes, planTimeout, func(ctx context.Context, node string) {
		plan := s.planNode(ctx, tree, node)
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = out.Send(plan)
		}
	})
	return failed
}

// planned is the tree that is planned. What does not pass the gate is refused before any
// node is asked.
func (s *Service) planned(ctx context.Context, id string) (*slicing.Tree, error) {
	tree, err := s.cfg.Repo.Tree(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, err := check(ctx, tree, nil); err != nil {
		return nil, err
	}
	return slicing.Open(tree)
}

func (s *Service) plannedRevision(ctx context.Context, r *ktrdrv1.PlanFleetRequest) (string, error) {
	var change command
	switch what := r.GetWhat().(type) {
	case *ktrdrv1.PlanFleetRequest_Scale:
		var err error
		if change, err = scaling(what.Scale); err != nil {
			return "", err
		}
	case *ktrdrv1.PlanFleetRequest_Deploy:
		if what.Deploy.GetTag() != "" {
			change = deploying(what.Deploy)
		}
	case *ktrdrv1.PlanFleetRequest_Rollback:
		head, err := s.cfg.Repo.Head(ctx)
		if err != nil {
			return "", err
		}
		to, err := s.rollbackTarget(ctx, what.Rollback.GetRevision(), head.ID)
		return to.ID, err
	case *ktrdrv1.PlanFleetRequest_Revision:
		if what.Revision != "" {
			commit, err := s.cfg.Repo.Resolve(ctx, what.Revision)
			return commit.ID, err
		}
	}
	if change.edit == nil {
		head, err := s.cfg.Repo.Head(ctx)
		return head.ID, err
	}
	made, err := s.candidate(ctx, change)
	if err != nil {
		return "", err
	}
	if made.id == "" {
		return made.base, nil
	}
	return made.id, nil
}

// planNode asks one node.
func (s *Service) planNode(ctx context.Context, tree *slicing.Tree, node string) *ktrdrv1.NodePlan {
	out := &ktrdrv1.NodePlan{Node: node}
	cut, slice, err := s.sliceFor(ctx, tree, node)
	var result *ktrdrv1.CommandResult
	if err == nil {
		result, err = s.cfg.Hub.Run(ctx, hub.Request{
			Node: node, Name: "plan", Candidate: cut,
			Command: &ktrdrv1.Command{By: by(ctx), Kind: &ktrdrv1.Command_Plan{Plan: &ktrdrv1.PlanCommand{Slice: slice}}},
		})
	}
	ended := outcomeOf(node, result, err)
	if ended.GetReason() != "" {
		out.Condition = &ktrdrv1.Condition{Type: api.ConditionBlocked, Status: true, Reason: ended.GetReason(), Message: ended.GetMessage(), Since: wire.Timestamp(time.Now())}
		return out
	}
	out.Plan = result.GetPlan()
	return out
}

// sliceFor is the node's slice of a tree, with what the node lacks of it.
func (s *Service) sliceFor(ctx context.Context, tree *slicing.Tree, node string) (*slicing.Cut, *ktrdrv1.Slice, error) {
	next, err := tree.Cut(ctx, node)
	if err != nil {
		return nil, nil, fmt.Errorf("slice for node %s: %w", node, err)
	}
	var before *slicing.Cut
	if n, ok := s.cfg.Hub.Node(node); ok && n.Revision != "" {
		if has, err := s.cfg.Shelf.Cut(ctx, n.Revision, node); err == nil && has.Digest == n.Digest {
			before = has
		}
	}
	message, err := next.Message(ctx, before)
	return next, message, err
}

// merged is several words in one sentence.
func merged(parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, ": ")
}
