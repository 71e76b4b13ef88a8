package report

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Logs reads what containers print.
type Logs interface {
	// Logs calls emit for each line, which is redacted, for several containers at the same
	// time when it follows. It returns when all is told, or ctx ends, which is no error.
	Logs(ctx context.Context, q LogQuery, emit func(LogLine)) error
}

// LogQuery says which lines are wanted.
type LogQuery struct {
	Stack string
	// Services are those of the stack; empty: all.
	Services []string
	// Tail is the number of last lines of each container; negative: all.
	Tail int
	// Since is zero for all.
	Since time.Time
	// Follow goes on with new lines, and with containers that come.
	Follow bool
}

// LogLine is one line of a container, as GET /v1/logs has it.
type LogLine struct {
	Time      time.Time `json:"time"`
	Stack     string    `json:"stack"`
	Service   string    `json:"service"`
	Container string    `json:"container"`
	// Stream is stdout or stderr.
	Stream string `json:"stream"`
	// Text is the line without its end, at most 16 KiB.
	Text string `json:"text"`
}

// Limits of logs.
const (
	// maxLogStreams is how many requests read logs at the same time.
	maxLogStreams  = 16
	maxTail        = 10_000
	standardTail   = 100
	maxLogServices = 200
	// logWriteTimeout ends a stream whose reader has stopped to read.
	logWriteTimeout = time.Minute
)

// refuseLogs: what containers print is for those who may steer the agent.
func refuseLogs(http.ResponseWriter, *http.Request) (any, error) {
	return nil, &problem{status: http.StatusForbidden, Reason: reasonForbidden, Text: "this address does not tell what containers print; use the agent's Unix socket"}
}

func (h *handler) logs(w http.ResponseWriter, r *http.Request) (any, error) {
	q, err := h.logQuery(r)
	if err != nil {
		return nil, err
	}
	select {
	case h.reading <- struct{}{}:
		defer func() { <-h.reading }()
	default:
		return nil, &problem{status: http.StatusTooManyRequests, Reason: reasonBusy, Text: "too many logs are being read; try again"}
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := &logWriter{to: json.NewEncoder(w), control: http.NewResponseController(w), gone: cancel}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if r.Method == http.MethodHead {
		return nil, nil
	}
	if q.Follow {
		out.flush = out.control.Flush
		_ = out.flush() // the answer begins, also when nothing is printed for hours
	}
	if err := h.backend.Logs(ctx, q, out.line); err != nil && ctx.Err() == nil {
		out.write(problem{Reason: string(api.ReasonEngineFailed), Text: err.Error()})
	}
	return nil, nil
}

// logWriter writes lines of several containers.
type logWriter struct {
	mu      sync.Mutex
	to      *json.Encoder
	control *http.ResponseController
	flush   func() error // nil: the server's buffer decides
	gone    context.CancelFunc
}

func (l *logWriter) line(line LogLine) { l.write(line) }

// write waits for the reader: the engine keeps what is not read yet.
func (l *logWriter) write(document any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.control.SetWriteDeadline(time.Now().Add(logWriteTimeout)) // a test's writer has none
	err := l.to.Encode(document)
	if err == nil && l.flush != nil {
		err = l.flush()
	}
	if err != nil {
		l.gone()
	}
}

func (h *handler) logQuery(r *http.Request) (LogQuery, error) {
	q := LogQuery{Tail: standardTail}
	if err := onlyParams(r, "stack", "services", "tail", "since", "follow"); err != nil {
		return q, err
	}
	v := r.URL.Query()
	q.Stack = v.Get("stack")
	if q.Stack == "" {
		return q, badField("stack", "name a stack")
	}
	if err := h.knows(q.Stack); err != nil {
		return q, err
	}
	if text := v.Get("services"); text != "" {
		if q.Services = strings.Split(text, ","); len(q.Services) > maxLogServices || slices.Contains(q.Services, "") {
			return q, badField("services", "write at most %d names with commas between them", maxLogServices)
		}
	}
	var err error
	if text := v.Get("tail"); text != "" {
		if q.Tail, err = strconv.Atoi(text); err != nil || q.Tail < -1 || q.Tail > maxTail {
			return q, badField("tail", "write a number from 0 to %d, or -1 for all", maxTail)
		}
	}
	if text := v.Get("since"); text != "" {
		if q.Since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return q, badField("since", "write a time such as 2026-01-31T12:00:00Z")
		}
	}
	if text := v.Get("follow"); text != "" {
		if q.Follow, err = strconv.ParseBool(text); err != nil {
			return q, badField("follow", "write true or false")
		}
	}
	return q, nil
}
