package worker

import (
	"errors"
	"net/http"
	"time"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/contract"
)

// Handler returns the HTTP interface of the worker.
func (w *Worker) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", w.root)
	mux.HandleFunc("GET /health", w.health)
	mux.HandleFunc("POST /operations", w.start)
	mux.HandleFunc("GET /api/v1/operations/{id}", w.operation)
	mux.HandleFunc("GET /metrics/", w.metrics)
	return mux
}

func (w *Worker) root(rw http.ResponseWriter, _ *http.Request) {
	contract.WriteJSON(rw, http.StatusOK, map[string]string{"status": "running", "worker_id": w.cfg.ID})
}

// health is always a 200 and, as in KTRDR, makes the worker believe that its backend still watches it, whoever called.
func (w *Worker) health(rw http.ResponseWriter, _ *http.Request) {
	select {
	case w.polled <- struct{}{}:
	default:
	}
	current, _ := w.desk.holds()
	status := contract.WorkerIdle
	if current != nil {
		status = contract.WorkerBusy
	}
	contract.WriteJSON(rw, http.StatusOK, contract.WorkerHealth{
		Healthy: true, Service: string(w.cfg.Type) + "-worker", Status: "operational",
		WorkerStatus: status, CurrentOperation: current,
	})
}

func (w *Worker) start(rw http.ResponseWriter, r *http.Request) {
	var req contract.StartRequest
	if err := contract.ReadJSON(rw, r, &req); err != nil {
		contract.Refuse(rw, http.StatusUnprocessableEntity, err.Error())
		return
	}
	if req.OperationID == "" {
		req.OperationID = "op_local_" + randomDigits()
	}
	if !contract.ValidID(req.OperationID) {
		contract.Refuse(rw, http.StatusUnprocessableEntity, "operation_id is not valid")
		return
	}
	length, code, err := w.length(req)
	if err != nil {
		contract.Refuse(rw, code, err.Error())
		return
	}
	op, err := w.desk.begin(req.OperationID, length)
	if err != nil {
		contract.Refuse(rw, http.StatusConflict, err.Error())
		return
	}
	w.log.Info("operation started", "operation_id", op.OperationID, "duration", length)
	contract.WriteJSON(rw, http.StatusAccepted, contract.OperationReply{Success: true, Data: op})
}

// length is how long the work takes: as asked, or what the checkpoint says is left. The code belongs to the error.
func (w *Worker) length(req contract.StartRequest) (time.Duration, int, error) {
	if !req.Resume {
		length, err := requestedLength(req.DurationSeconds)
		return length, http.StatusUnprocessableEntity, err
	}
	saved, err := loadCheckpoint(w.cfg.CheckpointDir, req.OperationID)
	if errors.Is(err, errNoCheckpoint) {
		return 0, http.StatusNotFound, err
	}
	if err != nil {
		return 0, http.StatusInternalServerError, err
	}
	length, err := requestedLength(max(saved.RemainingSeconds, 0.001))
	return length, http.StatusInternalServerError, err
}

func (w *Worker) operation(rw http.ResponseWriter, r *http.Request) {
	op, ok := w.desk.operation(r.PathValue("id"))
	if !ok {
		contract.Refuse(rw, http.StatusNotFound, "operation not found")
		return
	}
	contract.WriteJSON(rw, http.StatusOK, contract.OperationReply{Success: true, Data: op})
}

func (w *Worker) metrics(rw http.ResponseWriter, _ *http.Request) {
	active := 0
	if current, _ := w.desk.holds(); current != nil {
		active = 1
	}
	contract.WriteMetrics(rw, contract.Gauge{Name: "ktrdr_operations_active", Help: "Operations that run.", Value: active})
}
