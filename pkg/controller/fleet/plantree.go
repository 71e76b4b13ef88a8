package fleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// maxTreePlans is how many uploaded trees are planned at the same time. They have left their
// places among uploads: a slow node does not keep others from validating.
const maxTreePlans = 4

// reasonNotInTree: the node is not in what was uploaded.
const reasonNotInTree = "NotInDesiredState"

// PlanTree checks a state that was uploaded as Validate does, and plans it on the nodes,
// against their live engines. Neither the repository nor a node keeps anything of it.
func (s *Service) PlanTree(stream grpc.BidiStreamingServer[ktrdrv1.PlanTreeRequest, ktrdrv1.PlanTreeResponse]) error {
	ctx := stream.Context()
	receive := within(s.cfg.UploadLimit, stream.Recv)
	first, err := receive()
	if err != nil {
		return err
	}
	given := first
	content := func() ([]byte, error) {
		if given != nil {
			part := given.GetContent()
			given = nil
			return part, nil
		}
		next, err := receive()
		return next.GetContent(), err
	}
	return s.uploaded(ctx, "plan", content, func(dir string, leave func()) error {
		answer, err := s.validated(ctx, dir)
		if err != nil {
			return err
		}
		planned := len(answer.GetProblems()) == 0 && s.beginPlanning()
		if planned {
			defer func() { <-s.planning }()
			leave()
		}
		if err := stream.Send(&ktrdrv1.PlanTreeResponse{Kind: &ktrdrv1.PlanTreeResponse_Checked{Checked: answer}}); err != nil || len(answer.GetProblems()) > 0 {
			return err
		}
		if !planned {
			return status.Errorf(codes.ResourceExhausted, "the folder is checked, but nodes plan %d others already; try again in a moment", maxTreePlans)
		}
		return s.planFolder(ctx, dir, first.GetNodes(), func(p *ktrdrv1.NodePlan) error {
			return stream.Send(&ktrdrv1.PlanTreeResponse{Kind: &ktrdrv1.PlanTreeResponse_Plan{Plan: p}})
		})
	})
}

// beginPlanning takes a place of maxTreePlans; false when there is none.
func (s *Service) beginPlanning() bool {
	select {
	case s.planning <- struct{}{}:
		return true
	default:
		return false
	}
}

// planFolder asks nodes and gives each one's plan to send, one at a time.
func (s *Service) planFolder(ctx context.Context, dir string, names []string, send func(*ktrdrv1.NodePlan) error) error {
	id := make([]byte, 20) // agents take what has the form of a commit
	_, _ = rand.Read(id)
	label := fmt.Sprintf("upload-%x", id[:4])
	tree, err := slicing.Open(source.Tree{Dir: dir, Revision: source.Revision{ID: hex.EncodeToString(id), Subject: "an uploaded folder", Author: by(ctx), Time: time.Now()}})
	if err != nil {
		return err
	}
	defer tree.Close() //nolint:errcheck // a folder that was only read
	inTree, err := desired.Nodes(ctx, dir)
	if err != nil {
		return err
	}
	nodes, err := s.plannedNodes(inTree, names)
	if err != nil {
		return err
	}
	access.Note(ctx, "", "as "+label)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var failed error
	s.each(ctx, nodes, planTimeout, func(ctx context.Context, node string) {
		plan := notInTree(node)
		if slices.Contains(inTree, node) {
			plan = s.planNode(ctx, tree, node)
		}
		for _, p := range plan.GetPlan().GetPlans() {
			p.Revision = label
		}
		mu.Lock()
		defer mu.Unlock()
		if failed != nil {
			return
		}
		if failed = send(plan); failed != nil {
			cancel() // nobody waits for the others
		}
	})
	if failed != nil {
		return failed
	}
	return ctx.Err()
}

// plannedNodes are the named nodes, else those of the tree and those that are connected.
func (s *Service) plannedNodes(inTree, names []string) ([]string, error) {
	all := slices.Clone(inTree)
	for _, n := range s.cfg.Hub.News(0).Nodes {
		if n.Connected {
			all = append(all, n.Name)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(names) == 0 {
		return all, nil
	}
	names = slices.Clone(names)
	slices.Sort(names)
	names = slices.Compact(names)
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, status.Errorf(codes.NotFound, "the folder has no node %.80q", name)
		}
	}
	return names, nil
}

func notInTree(node string) *ktrdrv1.NodePlan {
	return &ktrdrv1.NodePlan{Node: node, Condition: &ktrdrv1.Condition{
		Type: api.ConditionWarning, Status: true, Reason: reasonNotInTree, Since: wire.Timestamp(time.Now()),
		Message: "the folder has no file for it: it would keep what it has, and get nothing new",
	}}
}
