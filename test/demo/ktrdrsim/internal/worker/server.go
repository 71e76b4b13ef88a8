package worker

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/contract"
)

const (
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 5 * time.Second
	callTime     = 10 * time.Second
)

// Worker is one worker. Its methods are safe for concurrent use.
type Worker struct {
	cfg    Config
	client *http.Client
	log    *slog.Logger
	desk   *desk
	// polled is rung by each GET /health.
	polled chan struct{}
}

// New makes a worker that reaches its backend through client.
func New(cfg Config, client *http.Client, log *slog.Logger) *Worker {
	return &Worker{cfg: cfg, client: client, log: log, desk: newDesk(cfg.ID, cfg.Type), polled: make(chan struct{}, 1)}
}

// Attend registers the worker, trying again with a growing pause, and then checks the registration whenever no
// GET /health has come for ReregisterAfter. It returns when ctx ends.
func (w *Worker) Attend(ctx context.Context) {
	if !w.registerUntilDone(ctx) {
		return
	}
	timer := time.NewTimer(w.cfg.ReregisterAfter)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.polled:
		case <-timer.C:
			w.log.Warn("no health check came, checking registration", "worker_id", w.cfg.ID)
			w.ensureRegistered(ctx)
		}
		timer.Reset(w.cfg.ReregisterAfter)
	}
}

func (w *Worker) registerUntilDone(ctx context.Context) bool {
	for pause := firstBackoff; ; pause = min(2*pause, lastBackoff) {
		err := w.register(ctx)
		if err == nil {
			w.log.Info("worker registered", "worker_id", w.cfg.ID, "backend", w.cfg.BackendURL)
			return true
		}
		w.log.Warn("register with backend", "worker_id", w.cfg.ID, "retry_in", pause, "err", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

func (w *Worker) register(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	current, _ := w.desk.holds()
	body := contract.Registration{
		WorkerID:           w.cfg.ID,
		WorkerType:         w.cfg.Type,
		EndpointURL:        w.cfg.PublicURL,
		Capabilities:       map[string]any{"gpu": w.cfg.GPU},
		CurrentOperationID: current,
	}
	return contract.Call(ctx, w.client, http.MethodPost, w.cfg.BackendURL+"/api/v1/workers/register", body, nil)
}

// ensureRegistered asks first, because a backend that merely polls less often still knows this worker.
func (w *Worker) ensureRegistered(ctx context.Context) {
	ask, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var known contract.Worker
	err := contract.Call(ask, w.client, http.MethodGet, w.cfg.BackendURL+"/api/v1/workers/"+w.cfg.ID, nil, &known)
	if err == nil {
		return
	}
	if err := w.register(ctx); err != nil {
		w.log.Warn("register again", "worker_id", w.cfg.ID, "err", err)
		return
	}
	w.log.Info("worker registered again", "worker_id", w.cfg.ID)
}

// Stop ends the work under way: training saves a checkpoint (bounded by ctx), a backtest is lost.
func (w *Worker) Stop(ctx context.Context) error {
	current, left := w.desk.holds()
	if current == nil {
		return nil
	}
	defer w.desk.end(*current, contract.Failed)
	if w.cfg.Type != contract.Training || w.cfg.CheckpointDir == "" {
		w.log.Warn("operation lost", "worker_id", w.cfg.ID, "operation_id", *current)
		return nil
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("save checkpoint of %s: %w", *current, ctx.Err())
	case <-time.After(w.cfg.SaveTime):
	}
	saved := checkpoint{OperationID: *current, RemainingSeconds: max(left, 0).Seconds()}
	if err := saveCheckpoint(w.cfg.CheckpointDir, saved); err != nil {
		return err
	}
	w.log.Info("checkpoint saved", "worker_id", w.cfg.ID, "operation_id", *current)
	return nil
}
