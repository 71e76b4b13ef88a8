package connect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Version is what the server says it is.
const Version = "1.7.3"

// maxUpload bounds the body of a request, in bytes.
const maxUpload = 1 << 20

// Server answers as a Connect server. It is an http.Handler, safe for concurrent use.
type Server struct {
	*Data
	mux *http.ServeMux

	mu     sync.Mutex
	keys   *keyring
	quirks Quirks
	// sinceStart and asked count requests to the API, from the last start and from the first.
	sinceStart, asked int
	counts            map[string]int
	activity          []Activity
}

// New makes a server without any vault.
func New() (*Server, error) {
	keys, err := newKeyring()
	if err != nil {
		return nil, err
	}
	s := &Server{Data: &Data{}, mux: http.NewServeMux(), keys: keys, counts: map[string]int{}}
	s.mux.HandleFunc("GET /heartbeat", s.heartbeat)
	s.mux.HandleFunc("GET /health", s.health)
	s.mux.HandleFunc("GET /metrics", s.metrics)
	for pattern, answer := range map[string]answer{
		"GET /v1/vaults":                                           s.listVaults,
		"GET /v1/vaults/{vault}":                                   s.getVault,
		"GET /v1/vaults/{vault}/items":                             s.listItems,
		"POST /v1/vaults/{vault}/items":                            s.createItem,
		"GET /v1/vaults/{vault}/items/{item}":                      s.getItem,
		"PUT /v1/vaults/{vault}/items/{item}":                      s.updateItem,
		"DELETE /v1/vaults/{vault}/items/{item}":                   s.deleteItem,
		"GET /v1/vaults/{vault}/items/{item}/files":                s.listFiles,
		"GET /v1/vaults/{vault}/items/{item}/files/{file}":         s.getFile,
		"GET /v1/vaults/{vault}/items/{item}/files/{file}/content": s.getContent,
		"GET /v1/activity":                                         s.listActivity,
	} {
		s.mux.HandleFunc(pattern, s.guarded(answer))
	}
	return s, nil
}

// Issue signs a token.
func (s *Server) Issue(g Grant) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys.issue(g)
}

// Revoke makes a token invalid.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.revoked = append(s.keys.revoked, token)
}

// Counts tells how often each route was asked, as "GET /v1/vaults/{vault}/items".
func (s *Server) Counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

// ForgetCounts sets all counts to nothing.
func (s *Server) ForgetCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.counts)
}

// Requests returns the record of requests, oldest first.
func (s *Server) Requests() []Activity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.activity)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("1Password-Connect-Version", Version)
	s.mux.ServeHTTP(w, r)
}

// refusal is an answer that is no success.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

func refused(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// answer is the body of a success; nil for none.
type answer func(c *call) (any, error)

// call is one request with what is known about it.
type call struct {
	*http.Request
	header http.Header
	claims *claims
	quirks Quirks
	seen   Activity
}

var uuid = regexp.MustCompile(`^[\da-z]{26}$`)

func (s *Server) guarded(to answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.counts[r.Pattern]++
		s.mu.Unlock()
		r.Body = http.MaxBytesReader(w, r.Body, maxUpload)
		if s.misbehave(w, r) {
			return
		}
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.mu.Lock()
		granted, err := s.keys.verify(token, time.Now())
		c := &call{Request: r, header: w.Header(), claims: granted, quirks: s.quirks}
		s.mu.Unlock()
		if err != nil {
			s.refuse(w, http.StatusUnauthorized, err.Error())
			return
		}
		body, err := s.checked(c, to)
		s.record(c, err)
		var no *refusal
		switch {
		case errors.As(err, &no):
			s.refuse(w, no.status, no.message)
		case err != nil:
			s.refuse(w, http.StatusInternalServerError, err.Error())
		default:
			send(w, c.quirks, body)
		}
	}
}

// checked answers a request whose ids are well formed and whose vault the token covers.
func (s *Server) checked(c *call, to answer) (any, error) {
	for _, part := range []string{"vault", "item"} {
		if id := c.PathValue(part); id != "" && !uuid.MatchString(id) {
			return nil, refused(http.StatusBadRequest, "Invalid %s UUID", part)
		}
	}
	id := c.PathValue("vault")
	if id == "" {
		return to(c)
	}
	if !c.claims.covers(id) {
		return nil, refused(http.StatusForbidden, "Authorization: (vault %s is not in scope)", id)
	}
	body, err := to(c)
	switch {
	case errors.Is(err, errNoVault):
		return nil, refused(http.StatusNotFound, "vault %s not found", id)
	case errors.Is(err, errNoItem):
		return nil, refused(http.StatusNotFound, "item %s not found", c.PathValue("item"))
	}
	return body, err
}

// refuse writes an error as the API has it.
func (s *Server) refuse(w http.ResponseWriter, status int, message string) {
	s.mu.Lock()
	echo := s.quirks.Echo
	s.mu.Unlock()
	if echo != "" {
		message += ": " + echo
		w.Header().Set("X-Detail", strconv.QuoteToASCII(echo))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(errorResponse{Status: status, Message: message})
}

// raw is a body that is no JSON.
type raw []byte

func send(w http.ResponseWriter, q Quirks, body any) {
	if body == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	data, isRaw := body.(raw)
	kind := "application/octet-stream"
	if !isRaw {
		kind = "application/json"
		var err error
		if data, err = json.Marshal(body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if q.CutAfter > 0 && q.CutAfter < len(data) {
		_, _ = w.Write(data[:q.CutAfter])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(data)
}

func (s *Server) heartbeat(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, ".")
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	sync := "ACTIVE"
	if s.sinceStart == 0 {
		sync = "TOKEN_NEEDED"
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"name": "1Password Connect API", "version": Version,
		"dependencies": []map[string]string{
			{"service": "sync", "status": sync},
			{"service": "sqlite", "status": "ACTIVE", "message": "Connected to 1password.sqlite"},
		},
	})
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	counts := s.Counts()
	total := 0
	for _, n := range counts {
		total += n
	}
	fmt.Fprintf(w, "# HELP op_requests_total Requests to the API.\n# TYPE op_requests_total counter\nop_requests_total %d\n", total)
}
