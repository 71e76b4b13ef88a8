package backend

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/contract"
)

// errNoWorker says that no worker of the wanted type is free; there is no queue.
var errNoWorker = errors.New("no worker is available")

// put stores the state of an operation.
func (r *registry) put(op contract.Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.operations[op.OperationID] = &op
}

func (r *registry) operation(id string) (contract.Operation, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op, ok := r.operations[id]
	if !ok {
		return contract.Operation{}, false
	}
	return *op, true
}

// allOperations returns every operation, oldest first.
func (r *registry) allOperations() []contract.Operation {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]contract.Operation, 0, len(r.operations))
	for _, op := range r.operations {
		all = append(all, *op)
	}
	slices.SortFunc(all, func(a, b contract.Operation) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.OperationID, b.OperationID))
	})
	return all
}

// runningOn returns the operations that the registry believes a worker runs, but for the one it says it runs.
func (r *registry) runningOn(worker string, current *string) []contract.Operation {
	var stale []contract.Operation
	for _, op := range r.allOperations() {
		if op.WorkerID == worker && op.Status == contract.Running && (current == nil || *current != op.OperationID) {
			stale = append(stale, op)
		}
	}
	return stale
}

// dispatch hands the request to free workers until one accepts it. A worker that is busy after all or does not answer is
// passed over; a refusal for another reason (no checkpoint) is the answer.
func (s *Server) dispatch(ctx context.Context, req contract.StartRequest) (contract.Operation, error) {
	for {
		w, ok := s.registry.take(req.OperationType, req.OperationID)
		if !ok {
			return contract.Operation{}, errNoWorker
		}
		err := contract.Call(ctx, s.client, http.MethodPost, w.EndpointURL+"/operations", req, nil)
		if err == nil {
			op := contract.Operation{
				OperationID: req.OperationID, OperationType: req.OperationType, Status: contract.Running,
				WorkerID: w.WorkerID, CreatedAt: time.Now(),
			}
			s.registry.put(op)
			return op, nil
		}
		s.log.Warn("worker did not take operation", "worker_id", w.WorkerID, "operation_id", req.OperationID, "err", err)
		var status *contract.StatusError
		switch {
		case !errors.As(err, &status):
			s.registry.release(w.WorkerID, contract.TemporarilyUnavailable)
		case status.Code == http.StatusConflict:
			s.registry.release(w.WorkerID, contract.Busy)
		default:
			s.registry.release(w.WorkerID, contract.Available)
			return contract.Operation{}, err
		}
	}
}

// settle asks a worker how an operation ended that it no longer runs. A worker that does not know it has been restarted
// since, and the work is lost.
func (s *Server) settle(ctx context.Context, w contract.Worker, op contract.Operation) {
	var reply contract.OperationReply
	err := contract.Call(ctx, s.client, http.MethodGet, w.EndpointURL+"/api/v1/operations/"+op.OperationID, nil, &reply)
	var status *contract.StatusError
	switch {
	case err == nil:
		op.Status = reply.Data.Status
	case errors.As(err, &status) && status.Code == http.StatusNotFound:
		op.Status = contract.Failed
	default:
		return
	}
	if op.Status != contract.Running {
		s.registry.put(op)
		s.log.Info("operation ended", "operation_id", op.OperationID, "status", op.Status, "worker_id", w.WorkerID)
	}
}

func newOperationID(kind contract.WorkerType) string {
	raw := make([]byte, 6)
	// crypto/rand.Read never returns an error.
	_, _ = rand.Read(raw)
	return fmt.Sprintf("op_%s_%s", kind, hex.EncodeToString(raw))
}
