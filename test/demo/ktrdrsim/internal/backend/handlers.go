package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/contract"
)

// Handler returns the HTTP interface of the backend.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/health", s.health)
	mux.HandleFunc("POST /api/v1/workers/register", s.register)
	mux.HandleFunc("GET /api/v1/workers", s.workers)
	mux.HandleFunc("GET /api/v1/workers/{id}", s.worker)
	mux.HandleFunc("GET /api/v1/operations", s.operations)
	mux.HandleFunc("GET /api/v1/operations/{id}", s.operation)
	mux.HandleFunc("POST /api/v1/operations", s.start(""))
	mux.HandleFunc("POST /api/v1/backtests/start", s.start(contract.Backtesting))
	mux.HandleFunc("POST /api/v1/trainings/start", s.start(contract.Training))
	mux.HandleFunc("POST /api/v1/operations/{id}/resume", s.resume)
	mux.HandleFunc("GET /metrics/", s.metrics)
	return mux
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	code, status := http.StatusOK, "ok"
	if s.cfg.Unhealthy || time.Since(s.started) < s.cfg.StartDelay {
		code, status = http.StatusServiceUnavailable, "unavailable"
	}
	contract.WriteJSON(w, code, map[string]string{"status": status, "version": s.cfg.Version})
}

func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	var reg contract.Registration
	if err := contract.ReadJSON(w, r, &reg); err != nil {
		contract.Refuse(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	if err := reg.Validate(); err != nil {
		contract.Refuse(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	s.log.Info("worker registered", "worker_id", reg.WorkerID, "worker_type", reg.WorkerType, "endpoint_url", reg.EndpointURL)
	registered := s.registry.register(reg)
	// A worker that comes back without the work it had has been restarted: its operations end now, not a round later.
	ctx, cancel := context.WithTimeout(r.Context(), probeTime)
	defer cancel()
	for _, op := range s.registry.runningOn(reg.WorkerID, reg.CurrentOperationID) {
		s.settle(ctx, registered, op)
	}
	contract.WriteJSON(w, http.StatusOK, registered)
}

func (s *Server) workers(w http.ResponseWriter, r *http.Request) {
	kind, status := r.URL.Query().Get("worker_type"), r.URL.Query().Get("status")
	matching := []contract.Worker{}
	for _, one := range s.registry.list() {
		if (kind == "" || kind == string(one.WorkerType)) && (status == "" || status == string(one.Status)) {
			matching = append(matching, one)
		}
	}
	contract.WriteJSON(w, http.StatusOK, matching)
}

func (s *Server) worker(w http.ResponseWriter, r *http.Request) {
	one, ok := s.registry.worker(r.PathValue("id"))
	if !ok {
		contract.Refuse(w, http.StatusNotFound, "worker not found")
		return
	}
	contract.WriteJSON(w, http.StatusOK, one)
}

func (s *Server) operations(w http.ResponseWriter, r *http.Request) {
	list := contract.OperationList{Success: true, Data: []contract.Operation{}}
	for _, op := range s.registry.allOperations() {
		active := op.Status == contract.Running
		list.TotalCount++
		if active {
			list.ActiveCount++
		}
		if active || r.URL.Query().Get("active_only") != "true" {
			list.Data = append(list.Data, op)
		}
	}
	contract.WriteJSON(w, http.StatusOK, list)
}

func (s *Server) operation(w http.ResponseWriter, r *http.Request) {
	op, ok := s.registry.operation(r.PathValue("id"))
	if !ok {
		contract.Refuse(w, http.StatusNotFound, "operation not found")
		return
	}
	contract.WriteJSON(w, http.StatusOK, contract.OperationReply{Success: true, Data: op})
}

// start answers requests for new work of a type; an empty type is read from the request.
func (s *Server) start(kind contract.WorkerType) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req contract.StartRequest
		if err := contract.ReadJSON(w, r, &req); err != nil {
			contract.Refuse(w, http.StatusUnprocessableEntity, err.Error())
			return
		}
		if kind != "" {
			req.OperationType = kind
		}
		parsed, err := contract.ParseWorkerType(string(req.OperationType))
		if err != nil {
			contract.Refuse(w, http.StatusUnprocessableEntity, "operation_type: "+err.Error())
			return
		}
		req.OperationType, req.OperationID, req.Resume = parsed, newOperationID(parsed), false
		s.answerDispatch(w, r, req)
	}
}

// resume restarts training from its checkpoint. An operation that this process never saw is tried as well: the
// checkpoint outlives the backend.
func (s *Server) resume(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	op, known := s.registry.operation(id)
	switch {
	case !contract.ValidID(id):
		contract.Refuse(w, http.StatusNotFound, "operation not found")
		return
	case known && op.OperationType != contract.Training:
		contract.Refuse(w, http.StatusConflict, "only training operations have checkpoints")
		return
	case known && op.Status != contract.Failed:
		contract.Refuse(w, http.StatusConflict, fmt.Sprintf("operation is %s", op.Status))
		return
	}
	s.answerDispatch(w, r, contract.StartRequest{OperationID: id, OperationType: contract.Training, Resume: true})
}

func (s *Server) answerDispatch(w http.ResponseWriter, r *http.Request, req contract.StartRequest) {
	op, err := s.dispatch(r.Context(), req)
	var status *contract.StatusError
	switch {
	case errors.Is(err, errNoWorker):
		contract.Refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("%v: type %s", err, req.OperationType))
	case errors.As(err, &status):
		contract.Refuse(w, status.Code, status.Detail)
	case err != nil:
		contract.Refuse(w, http.StatusBadGateway, err.Error())
	default:
		contract.WriteJSON(w, http.StatusOK, contract.OperationReply{Success: true, Data: op})
	}
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	available, active := 0, 0
	all := s.registry.list()
	for _, one := range all {
		if one.Status == contract.Available {
			available++
		}
	}
	for _, op := range s.registry.allOperations() {
		if op.Status == contract.Running {
			active++
		}
	}
	contract.WriteMetrics(w,
		contract.Gauge{Name: "ktrdr_workers_registered_total", Help: "Workers in the registry.", Value: len(all)},
		contract.Gauge{Name: "ktrdr_workers_available", Help: "Workers that can take work.", Value: available},
		contract.Gauge{Name: "ktrdr_operations_active", Help: "Operations that run.", Value: active},
	)
}
