package report

import (
	"context"
	"crypto/rand"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// Backend does what requests ask for.
type Backend interface {
	// Sync makes the agent look at its source soon. It does not wait for that.
	Sync(ctx context.Context) error
	// Hold suspends changes of a stack; nil resumes them.
	Hold(stack string, h *api.Hold) error
	// PlanTree plans the repository tree in dir against the live engine and changes
	// nothing. The tree is removed when it returns.
	PlanTree(ctx context.Context, dir string) ([]*plan.Plan, error)
	// Doctor checks the node and calls emit for each row, one at a time. dir is a repository
	// tree whose needs are checked, empty for the state in force.
	Doctor(ctx context.Context, req DoctorRequest, emit func(api.Check)) error
	// Alive returns an error when the agent's loop hangs.
	Alive() error
	Logs
}

// DoctorRequest says what is checked.
type DoctorRequest struct {
	// Dir is a repository tree whose needs are checked; empty: the state in force.
	Dir string
	// Canary starts a container.
	Canary bool
}

// handler answers the requests of docs/spec/http.md.
type handler struct {
	report  *Report
	backend Backend
	routes  map[string]methods
	// planning bounds uploads under way: each may hold maxTree bytes.
	planning chan struct{}
	// reading bounds streams of logs.
	reading chan struct{}
}

// methods are the answers of one path by method.
type methods map[string]answer

// answer returns what is written as JSON, or an error. A *problem says which status the
// answer gets; any other error is ours. It may write the answer itself and return nothing.
type answer func(w http.ResponseWriter, r *http.Request) (any, error)

// Handler answers everything. It belongs on a listener that only operators reach.
func (r *Report) Handler(b Backend) http.Handler {
	h := newHandler(r, b)
	h.routes["/v1/secrets"] = methods{http.MethodGet: h.secrets}
	h.routes["/v1/logs"] = methods{http.MethodGet: h.logs}
	h.routes["/v1/hold"] = methods{http.MethodPost: h.hold}
	h.routes["/v1/resume"] = methods{http.MethodPost: h.resume}
	h.routes["/v1/plan"][http.MethodPost] = h.planTree
	h.routes["/v1/doctor"] = methods{http.MethodPost: h.doctor}
	return h.guarded()
}

// ReadHandler answers what changes nothing, and POST /v1/sync, which changes nothing that
// was not pushed.
func (r *Report) ReadHandler(b Backend) http.Handler {
	h := newHandler(r, b)
	for _, path := range []string{"/v1/hold", "/v1/resume", "/v1/doctor"} {
		h.routes[path] = methods{http.MethodPost: refuseWrite}
	}
	h.routes["/v1/plan"][http.MethodPost] = refuseWrite
	h.routes["/v1/secrets"] = methods{http.MethodGet: refuseSecrets}
	h.routes["/v1/logs"] = methods{http.MethodGet: refuseLogs}
	return h.guarded()
}

func refuseWrite(http.ResponseWriter, *http.Request) (any, error) {
	return nil, &problem{status: http.StatusForbidden, Reason: reasonForbidden, Text: "this address answers reads only; use the agent's Unix socket"}
}

func newHandler(r *Report, b Backend) *handler {
	h := &handler{report: r, backend: b, planning: make(chan struct{}, 2), reading: make(chan struct{}, maxLogStreams)}
	metrics := r.metrics.Handler()
	h.routes = map[string]methods{
		"/healthz":    {http.MethodGet: h.healthz},
		"/readyz":     {http.MethodGet: h.readyz},
		"/v1/status":  {http.MethodGet: h.status},
		"/v1/plan":    {http.MethodGet: h.plans},
		"/v1/events":  {http.MethodGet: h.events},
		"/v1/source":  {http.MethodGet: h.source},
		"/v1/version": {http.MethodGet: h.version},
		"/v1/sync":    {http.MethodPost: h.sync},
		"/metrics": {http.MethodGet: func(w http.ResponseWriter, r *http.Request) (any, error) {
			metrics.ServeHTTP(w, r)
			return nil, nil
		}},
	}
	return h
}

// maxBody bounds the body of every request that is no upload, in bytes.
const maxBody = 64 << 10

// guarded wraps the routes in what every request goes through.
func (h *handler) guarded() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer h.recovered(w, r)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if p := h.admit(r); p != nil {
			p.write(w)
			return
		}
		limit := int64(maxBody)
		if r.URL.Path == "/v1/plan" || r.URL.Path == "/v1/doctor" {
			limit = maxTree
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		h.route(w, r)
	})
}

func (h *handler) route(w http.ResponseWriter, r *http.Request) {
	byMethod, ok := h.routes[r.URL.Path]
	if !ok {
		(&problem{status: http.StatusNotFound, Reason: reasonNotFound, Text: "no such path"}).write(w)
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	do, ok := byMethod[method]
	if !ok {
		allowed := strings.Join(sortedKeys(byMethod), ", ")
		w.Header().Set("Allow", allowed)
		(&problem{status: http.StatusMethodNotAllowed, Reason: reasonMethod, Text: "this path answers " + allowed + " only"}).write(w)
		return
	}
	body, err := do(w, r)
	switch {
	case err != nil:
		asProblem(err).write(w)
	case body != nil:
		writeJSON(w, http.StatusOK, body)
	}
}

// recovered turns a panic into an answer with an id that the log explains.
func (h *handler) recovered(w http.ResponseWriter, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	id := strings.ToLower(rand.Text()[:8])
	h.report.events.log.ErrorContext(r.Context(), "request ended by a defect", "id", id, "method", r.Method, "path", r.URL.Path,
		"cause", cause, "stack_trace", string(debug.Stack()))
	(&problem{
		status: http.StatusInternalServerError, Reason: reasonInternal, Text: "a defect of the agent; its log has the details under " + id,
	}).write(w)
}

// planTimeout bounds one planning of an uploaded tree, its upload included.
const planTimeout = time.Minute
