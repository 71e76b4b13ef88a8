package report

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

func (h *handler) healthz(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := onlyParams(r); err != nil {
		return nil, err
	}
	if err := h.backend.Alive(); err != nil {
		return nil, &problem{status: http.StatusServiceUnavailable, Reason: reasonHung, Text: err.Error()}
	}
	return map[string]string{"status": "ok"}, nil
}

func (h *handler) readyz(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := onlyParams(r); err != nil {
		return nil, err
	}
	h.report.mu.Lock()
	why := h.report.notReady()
	h.report.mu.Unlock()
	if len(why) > 0 {
		return nil, &problem{status: http.StatusServiceUnavailable, Reason: reasonNotReady, Text: strings.Join(why, "; ")}
	}
	return map[string]string{"status": "ready"}, nil
}

func (h *handler) status(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := onlyParams(r); err != nil {
		return nil, err
	}
	return h.report.Status(), nil
}

func (h *handler) plans(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := onlyParams(r, "stack"); err != nil {
		return nil, err
	}
	plans := h.report.Plans()
	if stack := r.URL.Query().Get("stack"); stack != "" {
		if err := h.knows(stack); err != nil {
			return nil, err
		}
		plans = slices.DeleteFunc(plans, func(p *plan.Plan) bool { return p.Stack != stack })
	}
	return plans, nil
}

// maxWait bounds a long poll.
const maxWait = time.Minute

func (h *handler) events(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := onlyParams(r, "after", "wait", "limit"); err != nil {
		return nil, err
	}
	q := r.URL.Query()
	var after uint64
	var err error
	if text := q.Get("after"); text != "" {
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, badField("after", "write the number of the last event that you have")
		}
	}
	limit := maxEvents
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxEvents {
			return nil, badField("limit", "write a number from 1 to %d", maxEvents)
		}
	}
	text := q.Get("wait")
	if text == "" {
		return h.report.Events(after, limit), nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 || wait > maxWait {
		return nil, badField("wait", "write a duration from 0s to %s", maxWait)
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	return h.report.WaitEvents(ctx, after, limit), nil
}

// version is the answer to GET /v1/version.
type version struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	Node    string `json:"node"`
}

func (h *handler) version(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := onlyParams(r); err != nil {
		return nil, err
	}
	return version{
		Version: api.Version, Commit: api.Commit, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Node: h.report.node,
	}, nil
}

// onlyParams refuses query parameters that a path does not know, and repeated ones.
func onlyParams(r *http.Request, allowed ...string) error {
	if len(r.URL.RawQuery) > maxQuery {
		return badField("", "the query is longer than %d bytes", maxQuery)
	}
	for name, values := range r.URL.Query() {
		if !slices.Contains(allowed, name) {
			return badField(name, "unknown parameter")
		}
		if len(values) > 1 {
			return badField(name, "given more than once")
		}
	}
	return nil
}

const maxQuery = 4096

// knows returns an error that lists the stacks there are.
func (h *handler) knows(stack string) error {
	h.report.mu.Lock()
	names := h.report.stackNames()
	h.report.mu.Unlock()
	if slices.Contains(names, stack) {
		return nil
	}
	have := "this node has none"
	if len(names) > 0 {
		have = "this node has " + strings.Join(names, ", ")
	}
	return &problem{status: http.StatusNotFound, Reason: reasonNotFound, Field: "stack", Text: "no such stack; " + have}
}
