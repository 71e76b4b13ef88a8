package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

func (h *handler) sync(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := onlyParams(r); err != nil {
		return nil, err
	}
	if err := h.backend.Sync(r.Context()); err != nil {
		return nil, err
	}
	writeJSON(w, http.StatusAccepted, map[string]string{"status": "the source is looked at"})
	return nil, nil
}

// holdRequest is the body of POST /v1/hold.
type holdRequest struct {
	Stack string `json:"stack"`
	// For is a duration; empty means until resumed.
	For string `json:"for"`
	Why string `json:"why"`
	Who string `json:"who"`
}

// Limits of a hold.
const (
	maxHold = 366 * 24 * time.Hour
	maxText = 500
)

func (h *handler) hold(_ http.ResponseWriter, r *http.Request) (any, error) {
	var req holdRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	now := time.Now()
	hold := &api.Hold{Why: strings.TrimSpace(req.Why), Who: strings.TrimSpace(req.Who), Since: now}
	if hold.Why == "" {
		return nil, badField("why", "say why, for those who find the stack on hold")
	}
	for _, f := range []struct{ name, text string }{{"why", hold.Why}, {"who", hold.Who}} {
		if len(f.text) > maxText {
			return nil, badField(f.name, "longer than %d bytes", maxText)
		}
	}
	if req.For != "" {
		d, err := time.ParseDuration(req.For)
		if err != nil || d <= 0 || d > maxHold {
			return nil, badField("for", "write a duration such as 2h30m, at most %s", maxHold)
		}
		hold.Until = now.Add(d)
	}
	if err := h.knows(req.Stack); err != nil {
		return nil, err
	}
	if err := h.backend.Hold(req.Stack, hold); err != nil {
		return nil, fmt.Errorf("hold stack %s: %w", req.Stack, err)
	}
	return hold, nil
}

func (h *handler) resume(_ http.ResponseWriter, r *http.Request) (any, error) {
	var req struct {
		Stack string `json:"stack"`
	}
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if err := h.knows(req.Stack); err != nil {
		return nil, err
	}
	if err := h.backend.Hold(req.Stack, nil); err != nil {
		return nil, fmt.Errorf("resume stack %s: %w", req.Stack, err)
	}
	return map[string]string{"status": "resumed"}, nil
}

// uploaded unpacks the tree that a request brings and calls use with its folder. Nothing of
// it outlives the request.
func (h *handler) uploaded(r *http.Request, use func(ctx context.Context, dir string) (any, error)) (any, error) {
	if err := contentType(r, "application/x-tar"); err != nil {
		return nil, err
	}
	select {
	case h.planning <- struct{}{}:
		defer func() { <-h.planning }()
	default:
		return nil, &problem{status: http.StatusTooManyRequests, Reason: reasonBusy, Text: "other trees are being planned; try again"}
	}
	ctx, cancel := context.WithTimeout(r.Context(), planTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "ktrdr-plan-*")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the tree: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder; what stays is cleaned up with the others
	if err := unpack(ctx, r.Body, dir); err != nil {
		return nil, err
	}
	return use(ctx, dir)
}

// planTree plans an uploaded tree.
func (h *handler) planTree(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := onlyParams(r); err != nil {
		return nil, err
	}
	return h.uploaded(r, h.planFolder)
}

func (h *handler) planFolder(ctx context.Context, dir string) (any, error) {
	plans, err := h.backend.PlanTree(ctx, dir)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &problem{status: http.StatusGatewayTimeout, Reason: reasonTimeout, Text: fmt.Sprintf("not planned within %s", planTimeout)}
	case err != nil:
		return nil, &problem{status: http.StatusUnprocessableEntity, Reason: string(api.ReasonInvalid), Text: err.Error()}
	}
	return plans, nil
}

// decode reads a JSON object strictly: no unknown fields, nothing behind it.
func decode(r *http.Request, into any) error {
	if err := onlyParams(r); err != nil {
		return err
	}
	if err := contentType(r, "application/json"); err != nil {
		return err
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the object")
		}
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); err == nil || large {
		return err
	}
	field := ""
	if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field = mistyped.Field
	} else if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		field = strings.Trim(name, `"`)
	}
	return badField(field, "the body is not the JSON object that this path takes: %s", strings.TrimPrefix(err.Error(), "json: "))
}

func contentType(r *http.Request, want string) error {
	have, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || have != want || r.Header.Get("Content-Encoding") != "" {
		return &problem{
			status: http.StatusUnsupportedMediaType, Reason: reasonMedia, Field: "Content-Type", Text: "send the body as " + want + ", not compressed",
		}
	}
	return nil
}
