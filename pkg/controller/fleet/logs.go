package fleet

import (
	"context"
	"errors"
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
	f := &fanIn{out: out}
	var streams sync.WaitGroup
	for _, node := range nodes {
		streams.Go(func() { s.nodeLogs(ctx, node, logs, f) })
	}
	streams.Wait()
	return f.err
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
