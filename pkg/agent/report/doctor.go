package report

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"ktrdr.io/fleet/pkg/api"
)

// doctor checks the node, with the needs of an uploaded tree or of the state in force, and
// answers with one JSON object a line as rows come.
func (h *handler) doctor(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := onlyParams(r, "canary"); err != nil {
		return nil, err
	}
	var req DoctorRequest
	if text := r.URL.Query().Get("canary"); text != "" {
		var err error
		if req.Canary, err = strconv.ParseBool(text); err != nil {
			return nil, badField("canary", "write true or false")
		}
	}
	if r.Header.Get("Content-Type") == "" {
		return nil, h.examine(r.Context(), w, req)
	}
	return h.uploaded(r, func(ctx context.Context, dir string) (any, error) {
		req.Dir = dir
		return nil, h.examine(ctx, w, req)
	})
}

// examine writes rows as they come. An error after the first row becomes a row.
func (h *handler) examine(ctx context.Context, w http.ResponseWriter, req DoctorRequest) error {
	began := false
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	emit := func(c api.Check) {
		if !began {
			w.Header().Set("Content-Type", "application/x-ndjson")
			began = true
		}
		if out.Encode(c) == nil {
			_ = flush.Flush() // what can't be flushed arrives with the end
		}
	}
	err := h.backend.Doctor(ctx, req, emit)
	if err != nil && began {
		emit(api.Check{Name: "doctor", Result: api.CheckFail, Message: err.Error()})
		return nil
	}
	if err != nil {
		return &problem{status: http.StatusUnprocessableEntity, Reason: string(api.ReasonInvalid), Text: err.Error()}
	}
	return nil
}
