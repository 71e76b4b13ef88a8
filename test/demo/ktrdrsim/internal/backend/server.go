package backend

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/contract"
)

// probeTime bounds one health check of one worker.
const probeTime = 5 * time.Second

// Server is one backend. Its methods are safe for concurrent use.
type Server struct {
	cfg      Config
	client   *http.Client
	log      *slog.Logger
	registry *registry
	started  time.Time
}

// New makes a backend that reaches workers through client.
func New(cfg Config, client *http.Client, log *slog.Logger) *Server {
	return &Server{cfg: cfg, client: client, log: log, registry: newRegistry(), started: time.Now()}
}

// Watch checks the health of all workers every HealthInterval until ctx ends.
func (s *Server) Watch(ctx context.Context) {
	tick := time.NewTicker(s.cfg.HealthInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.checkAll(ctx)
		}
	}
}

func (s *Server) checkAll(ctx context.Context) {
	var group errgroup.Group
	for _, w := range s.registry.list() {
		group.Go(func() error {
			s.check(ctx, w)
			return nil
		})
	}
	// The functions above return nil: a failed check is a state of the worker, kept in the registry.
	_ = group.Wait()
}

func (s *Server) check(ctx context.Context, w contract.Worker) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var health contract.WorkerHealth
	if err := contract.Call(ctx, s.client, http.MethodGet, w.EndpointURL+"/health", nil, &health); err != nil {
		status := s.registry.failing(w.WorkerID)
		s.log.Warn("health check failed", "worker_id", w.WorkerID, "status", status, "err", err)
		return
	}
	s.registry.healthy(w.WorkerID, health)
	for _, op := range s.registry.runningOn(w.WorkerID, health.CurrentOperation) {
		s.settle(ctx, w, op)
	}
}
