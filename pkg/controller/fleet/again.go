package fleet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/store"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// again rolls the head out once more: what is in quarantine on the nodes of the stack is
// tried anew, and waves that were stopped go on.
func (s *Service) again(ctx context.Context, r *ktrdrv1.DeployRequest) (*ktrdrv1.ChangeResponse, error) {
	head := s.cfg.Ledger.Head().Revision
	if head == "" {
		return nil, status.Error(codes.FailedPrecondition, "there is no revision yet")
	}
	nodes, err := s.nodesOf(ctx, r.GetStack(), nodeList(r.GetNode()))
	if err != nil {
		return nil, err
	}
	if len(r.GetServices()) > 0 {
		return nil, status.Error(codes.InvalidArgument, "services are chosen together with a tag; without one, the whole stack is tried again")
	}
	answer := &ktrdrv1.ChangeResponse{Nodes: nodes, Summary: []string{"revision " + short(head) + " is rolled out again"}}
	if r.GetDryRun() {
		return answer, nil
	}
	// What does not answer now is tried by the rollout nevertheless: with a new revision only.
	s.onNodes(ctx, nodes, "resume", func(string) *ktrdrv1.Command {
		return &ktrdrv1.Command{By: by(ctx), Kind: &ktrdrv1.Command_Resume{Resume: &ktrdrv1.ResumeCommand{Stack: r.GetStack()}}}
	})
	if err := s.cfg.Driver.Again(ctx, head, nodes); err != nil {
		return nil, err
	}
	answer.Revision = head
	return answer, nil
}

// nodeList are the nodes of a request: names with commas between them.
func nodeList(names string) []string {
	if names == "" {
		return nil
	}
	list := strings.Split(names, ",")
	slices.Sort(list)
	return slices.Compact(list)
}

// Again starts another rollout of the head, of which the named nodes are part even if their
// slice does not change. The leading driver goes on with it.
func (d *Driver) Again(ctx context.Context, head string, nodes []string) error {
	order, err := d.order(ctx, head)
	if err != nil {
		return err
	}
	order.Again = slices.Clone(nodes)
	for range againAttempts {
		run := &drive{driver: d, nodes: map[string]rollout.Node{}}
		now, err := d.Store.CurrentRollout(ctx)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil {
			if err := run.read(now); err != nil {
				return err
			}
		}
		run.learn()
		_, steps, err := d.start(ctx, run.entry, order, run.known(order.Digests), time.Now())
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err == nil {
			d.tell(ctx, head, steps)
		}
		return err
	}
	return store.ErrConflict
}

// againAttempts bounds compare-and-swap.
const againAttempts = 5
