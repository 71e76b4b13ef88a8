package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// doctorTimeout bounds the checks of one node: a canary container may have to be pulled.
const doctorTimeout = 5 * time.Minute

// Doctor checks controller and nodes.
func (s *Service) Doctor(r *ktrdrv1.DoctorRequest, out grpc.ServerStreamingServer[ktrdrv1.NodeCheck]) error {
	ctx := out.Context()
	nodes, err := s.nodesOf(ctx, "", r.GetNodes())
	if err != nil {
		return s.failed(ctx, "check the fleet", err)
	}
	var mu sync.Mutex
	var failed error
	send := func(node string, c *ktrdrv1.Check) error {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = out.Send(&ktrdrv1.NodeCheck{Node: node, Check: c})
		}
		return failed
	}
	if len(r.GetNodes()) == 0 {
		for _, c := range s.examine(ctx) {
			if err := send("", wire.CheckToProto(c)); err != nil {
				return err
			}
		}
	}
	tree, err := s.examined(ctx, r.GetRevision())
	if err != nil {
		return s.failed(ctx, "check the fleet", err)
	}
	s.each(ctx, nodes, doctorTimeout, func(ctx context.Context, node string) {
		if err := s.examineNode(ctx, tree, node, r.GetCanary(), func(c *ktrdrv1.Check) error { return send(node, c) }); err != nil {
			_ = send(node, err)
		}
	})
	return failed
}

// examined is the revision whose needs are checked; nil before the first one.
func (s *Service) examined(ctx context.Context, revision string) (*slicing.Tree, error) {
	if revision == "" {
		if revision = s.cfg.Ledger.Head().Revision; revision == "" {
			return nil, nil //nolint:nilnil // there is none
		}
	} else {
		commit, err := s.cfg.Repo.Resolve(ctx, revision)
		if err != nil {
			return nil, err
		}
		revision = commit.ID
	}
	return s.cfg.Shelf.Tree(ctx, revision)
}

// examineNode gives the rows of a node as they come, and returns one more when it could not
// be checked.
func (s *Service) examineNode(ctx context.Context, tree *slicing.Tree, node string, canary bool, row func(*ktrdrv1.Check) error) *ktrdrv1.Check { //nolint:revive // canary is the operator's
	command := &ktrdrv1.DoctorCommand{Canary: canary}
	var candidate *slicing.Cut
	var err error
	if tree != nil {
		candidate, command.Slice, err = s.sliceFor(ctx, tree, node)
	}
	var result *ktrdrv1.CommandResult
	if err == nil {
		result, err = s.cfg.Hub.Run(ctx, hub.Request{
			Node: node, Name: "doctor", Candidate: candidate,
			Command: &ktrdrv1.Command{By: by(ctx), Kind: &ktrdrv1.Command_Doctor{Doctor: command}},
			Output: func(o *ktrdrv1.CommandOutput) error {
				if c := o.GetCheck(); c != nil {
					return row(c)
				}
				return nil
			},
		})
	}
	ended := outcomeOf(node, result, err)
	if ended.GetReason() == "" {
		return nil
	}
	return &ktrdrv1.Check{
		Name: "node-answers", Subject: "agent of node " + node, Result: string(api.CheckFail),
		Message: merged(ended.GetReason(), ended.GetMessage()), Fix: s.answerFix(node),
	}
}

// answerFix is where to look when a node gives no answer.
func (s *Service) answerFix(node string) string {
	if n, _ := s.cfg.Hub.Node(node); n.Joined == nil {
		return "it has not joined yet: ktrdrctl node join-token " + node
	}
	return "look at the agent on the node: systemctl status ktrdr-agent"
}

// examine checks the controller itself.
func (s *Service) examine(ctx context.Context) []api.Check {
	checks := []api.Check{
		timed("store", "etcd", func() (api.CheckResult, string, string) {
			if err := s.cfg.Store.Ping(ctx); err != nil {
				return api.CheckFail, err.Error(), "see docs/operations.md, the store"
			}
			return api.CheckOK, "reads and writes work", ""
		}),
		timed("repository", "desired state", func() (api.CheckResult, string, string) {
			head, err := s.cfg.Repo.Head(ctx)
			if err != nil {
				return api.CheckFail, err.Error(), "push a desired state, or restore the repository"
			}
			return api.CheckOK, fmt.Sprintf("head %s: %s", short(head.ID), cut(head.Subject(), 100)), ""
		}),
	}
	for _, c := range s.cfg.problems() {
		checks = append(checks, api.Check{Name: "controller", Subject: c.Object, Result: api.CheckWarn, Message: c.Message})
	}
	return append(checks, s.examineNodes(ctx)...)
}

// examineNodes looks for nodes that don't fit together with the head.
func (s *Service) examineNodes(ctx context.Context) []api.Check {
	v, err := s.view(ctx)
	if err != nil {
		return []api.Check{{Name: "head", Subject: "accepted revision", Result: api.CheckFail, Message: err.Error()}}
	}
	joined := map[string]hub.Node{}
	for _, n := range s.cfg.Hub.News(0).Nodes {
		joined[n.Name] = n
	}
	var out []api.Check
	for _, name := range slices.Sorted(maps.Keys(v.outline.Nodes)) {
		if n := joined[name]; n.Joined == nil {
			out = append(out, api.Check{
				Name: "node-joined", Subject: "node " + name, Result: api.CheckWarn,
				Message: "it is in the desired state and has not joined", Fix: "ktrdrctl node join-token " + name,
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(joined)) {
		n := joined[name]
		if _, ok := v.outline.Nodes[name]; !ok && v.Head.Revision != "" {
			out = append(out, api.Check{
				Name: "node-desired", Subject: "node " + name, Result: api.CheckWarn,
				Message: "it has joined and is not in the desired state", Fix: "add nodes/" + name + ".yaml, or ktrdrctl node remove " + name,
			})
		}
		if n.Joined != nil && time.Until(n.Joined.CertNotAfter) < certificateWarning {
			out = append(out, api.Check{
				Name: "certificate", Subject: "node " + name, Result: api.CheckWarn,
				Message: "its certificate ends at " + n.Joined.CertNotAfter.Format(time.RFC3339), Fix: "look why the agent does not renew it",
			})
		}
	}
	return out
}

// certificateWarning is before the end of a certificate that should have been renewed.
const certificateWarning = 5 * 24 * time.Hour

func (c *Config) problems() []api.Condition {
	if c.Problems == nil {
		return nil
	}
	return c.Problems()
}

func timed(name, subject string, look func() (api.CheckResult, string, string)) api.Check {
	began := time.Now()
	result, message, fix := look()
	return api.Check{Name: name, Subject: subject, Result: result, Message: message, Fix: fix, Took: time.Since(began)}
}
