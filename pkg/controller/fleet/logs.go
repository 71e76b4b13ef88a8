package fleet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/hub"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// maxTail is how many lines of each container may be asked for.
const maxTail = 10_000

// Logs streams logs of containers of several nodes. Each node is asked by itself: one that is
// slow, or away, holds no other one up. A node that ends is told of once.
func (s *Service) Logs(r *ktrdrv1.LogsRequest, out grpc.ServerStreamingServer[ktrdrv1.LogsResponse]) error {
	ctx := out.Context()
	logs := r.GetLogs()
	if logs == nil || logs.GetTail() > maxTail || len(logs.GetServices()) > maxNames {
		return status.Errorf(codes.InvalidArgument, "logs: say which, and at most %d lines of each container", maxTail)
	}
	nodes, err := s.nodesOf(ctx, logs.GetStack(), r.GetNodes())
	if err != nil {
		return s.failed(ctx, "read logs", err)
	}
	if err := s.checkServices(logs, nodes); err != nil {
		return err
	}
	f := &fanIn{out: out}
	var streams sync.WaitGroup
	for _, node := range nodes {
		streams.Go(func() { s.nodeLogs(ctx, node, logs, f) })
	}
	streams.Wait()
	return f.err
}

// checkServices refuses names that no node of the stack has told of; while none has told
// anything, every name may be one.
func (s *Service) checkServices(logs *ktrdrv1.LogsCommand, nodes []string) error {
	if len(logs.GetServices()) == 0 {
		return nil
	}
	var known []string
	for _, name := range nodes {
		n, _ := s.cfg.Hub.Node(name)
		for _, stack := range n.Status.Message().GetStacks() {
			if stack.GetName() != logs.GetStack() {
				continue
			}
			for _, service := range stack.GetServices() {
				known = append(known, service.GetService())
			}
		}
	}
	slices.Sort(known)
	known = slices.Compact(known)
	for _, service := range logs.GetServices() {
		if len(known) > 0 && !slices.Contains(known, service) {
			return status.Errorf(codes.NotFound, "stack %s has no service %.80q: it has %s", logs.GetStack(), service, cut(strings.Join(known, ", "), 1<<10))
		}
	}
	return nil
}

// fanIn sends for several nodes, one at a time.
type fanIn struct {
	mu  sync.Mutex
	out grpc.ServerStreamingServer[ktrdrv1.LogsResponse]
	err error
}

func (f *fanIn) send(m *ktrdrv1.LogsResponse) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = f.out.Send(m)
	}
	return f.err
}

func (s *Service) nodeLogs(ctx context.Context, node string, logs *ktrdrv1.LogsCommand, f *fanIn) {
	result, err := s.cfg.Hub.Run(ctx, hub.Request{
		Node: node, Name: "logs", Command: &ktrdrv1.Command{By: by(ctx), Kind: &ktrdrv1.Command_Logs{Logs: logs}},
		Output: func(o *ktrdrv1.CommandOutput) error {
			if batch := o.GetLogs(); batch != nil {
				return f.send(&ktrdrv1.LogsResponse{Logs: batch})
			}
			return nil
		},
	})
	if errors.Is(err, context.Canceled) {
		return
	}
	if ended := outcomeOf(node, result, err); ended.GetReason() != "" || logs.GetFollow() {
		_ = f.send(&ktrdrv1.LogsResponse{Node: ended})
	}
}
