package backend

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/contract"
)

// maxFailures health checks in a row make a worker temporarily unavailable.
const maxFailures = 3

// member is a registered worker and when it last got work.
type member struct {
	contract.Worker

	lastSelected time.Time
}

// registry holds workers and operations. It is safe for concurrent use.
type registry struct {
	mu         sync.Mutex
	workers    map[string]*member
	operations map[string]*contract.Operation
}

func newRegistry() *registry {
	return &registry{workers: map[string]*member{}, operations: map[string]*contract.Operation{}}
}

// register adds or replaces a worker by its id. A worker that comes back under a new id is a second entry: the id is the
// identity, which is why a worker needs a stable one.
func (r *registry) register(reg contract.Registration) contract.Worker {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := &member{Worker: contract.Worker{
		WorkerID:           reg.WorkerID,
		WorkerType:         reg.WorkerType,
		EndpointURL:        reg.EndpointURL,
		Capabilities:       reg.Capabilities,
		Status:             contract.Available,
		CurrentOperationID: reg.CurrentOperationID,
		LastHealthyAt:      time.Now(),
	}}
	if reg.CurrentOperationID != nil {
		m.Status = contract.Busy
	}
	r.workers[reg.WorkerID] = m
	return m.Worker
}

func (r *registry) worker(id string) (contract.Worker, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.workers[id]
	if !ok {
		return contract.Worker{}, false
	}
	return m.Worker, true
}

// list returns all workers ordered by id.
func (r *registry) list() []contract.Worker {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]contract.Worker, 0, len(r.workers))
	for _, m := range r.workers {
		all = append(all, m.Worker)
	}
	slices.SortFunc(all, func(a, b contract.Worker) int { return cmp.Compare(a.WorkerID, b.WorkerID) })
	return all
}

// take marks the best free worker of a type busy with an operation: GPU first for training, then the least recently used.
func (r *registry) take(kind contract.WorkerType, operation string) (contract.Worker, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var best *member
	for _, m := range r.workers {
		if m.WorkerType != kind || m.Status != contract.Available {
			continue
		}
		if best == nil || before(m, best) {
			best = m
		}
	}
	if best == nil {
		return contract.Worker{}, false
	}
	best.Status, best.CurrentOperationID, best.lastSelected = contract.Busy, &operation, time.Now()
	return best.Worker, true
}

func before(a, b *member) bool {
	if ag, bg := a.Capabilities["gpu"] == true, b.Capabilities["gpu"] == true; ag != bg {
		return ag
	}
	return cmp.Or(a.lastSelected.Compare(b.lastSelected), cmp.Compare(a.WorkerID, b.WorkerID)) < 0
}

// release marks a worker as in status, whatever it was taken for.
func (r *registry) release(id string, status contract.WorkerStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, ok := r.workers[id]; ok {
		m.Status, m.CurrentOperationID = status, nil
	}
}

// healthy records an answered health check.
func (r *registry) healthy(id string, h contract.WorkerHealth) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.workers[id]
	if !ok {
		return
	}
	m.HealthCheckFailures, m.LastHealthyAt = 0, time.Now()
	m.Status, m.CurrentOperationID = contract.Available, nil
	if h.WorkerStatus == contract.WorkerBusy {
		m.Status, m.CurrentOperationID = contract.Busy, h.CurrentOperation
	}
}

// failing records a health check without an answer and fails the operations of a worker that has missed too many.
func (r *registry) failing(id string) contract.WorkerStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.workers[id]
	if !ok {
		return contract.TemporarilyUnavailable
	}
	m.HealthCheckFailures++
	if m.HealthCheckFailures < maxFailures {
		return m.Status
	}
	m.Status, m.CurrentOperationID = contract.TemporarilyUnavailable, nil
	for _, op := range r.operations {
		if op.WorkerID == id && op.Status == contract.Running {
			op.Status = contract.Failed
		}
	}
	return m.Status
}
