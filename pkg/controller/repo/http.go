package repo

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
)

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
	// maxFetchRequest bounds what a fetch asks for and says it has, in bytes.
	maxFetchRequest = 16 << 20
	// maxWait is how long a request waits while all transfers are taken.
	maxWait = 30 * time.Second
)

// protocolVersion is what a client may ask for; others are served as version 0.
var protocolVersion = regexp.MustCompile(`^version=[12]$`)

// ServeHTTP speaks git's smart protocol for the one repository, whatever the path is called
// before /info/refs, /git-upload-pack and /git-receive-pack. It sets the connection's
// deadlines itself. Source: gitprotocol-http(5).
func (h *Hosted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	service, discovery := serviceOf(r)
	if service == "" {
		http.Error(w, "only git's smart HTTP protocol is served here: git clone, fetch and push", http.StatusNotFound)
		return
	}
	if want := map[bool]string{true: http.MethodGet, false: http.MethodPost}[discovery]; r.Method != want {
		w.Header().Set("Allow", want)
		http.Error(w, "use "+want, http.StatusMethodNotAllowed)
		return
	}
	who, ok := h.authorize(w, r, service == receivePack)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.limits.TransferTimeout)
	defer cancel()
	release, ok := h.transfer(ctx, w)
	if !ok {
		return
	}
	defer release()
	s := session{h: h, w: w, r: r, who: who, release: release}
	s.deadlines(h.limits.TransferTimeout)
	// The next request of the connection must not inherit this one's.
	defer s.deadlines(0)
	switch {
	case discovery && service == uploadPack:
		s.advertiseFetch(ctx)
	case discovery:
		s.advertisePush(ctx)
	case r.Header.Get("Content-Type") != "application/x-"+service+"-request":
		http.Error(w, "the content type must be application/x-"+service+"-request", http.StatusUnsupportedMediaType)
	case service == uploadPack:
		s.fetch(ctx)
	default:
		s.receive(ctx)
	}
}

// serviceOf reads the service from a request; "" for none of ours.
func serviceOf(r *http.Request) (service string, discovery bool) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/info/refs"):
		service, discovery = r.URL.Query().Get("service"), true
	case strings.HasSuffix(r.URL.Path, "/"+uploadPack):
		service = uploadPack
	case strings.HasSuffix(r.URL.Path, "/"+receivePack):
		service = receivePack
	}
	if service != uploadPack && service != receivePack {
		return "", false
	}
	return service, discovery
}

// authorize answers the request itself when it is refused.
func (h *Hosted) authorize(w http.ResponseWriter, r *http.Request, write bool) (Who, bool) { //nolint:revive // the signature of Authorize
	if h.cfg.Authorize == nil {
		http.Error(w, "the repository is not served here", http.StatusForbidden)
		return Who{}, false
	}
	who, err := h.cfg.Authorize(r, write)
	switch {
	case err == nil:
		return who, true
	case errors.Is(err, ErrUnauthenticated):
		w.Header().Set("WWW-Authenticate", `Basic realm="ktrdr desired state", charset="UTF-8"`)
		http.Error(w, oneLine(err.Error()), http.StatusUnauthorized)
	case errors.Is(err, ErrForbidden):
		http.Error(w, oneLine(err.Error()), http.StatusForbidden)
	default:
		h.cfg.Logger.Error("authorize a git request", "err", err)
		http.Error(w, "who asks could not be found out", http.StatusInternalServerError)
	}
	return Who{}, false
}

// transfer waits for one of the places for transfers. release may be called more than once.
func (h *Hosted) transfer(ctx context.Context, w http.ResponseWriter) (release func(), ok bool) {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	select {
	case h.transfers <- struct{}{}:
	case <-ctx.Done():
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many fetches and pushes at once: try again", http.StatusServiceUnavailable)
		return nil, false
	}
	held := true
	return func() {
		if held {
			held = false
			<-h.transfers
		}
	}, true
}

// session serves one request. It belongs to one goroutine.
type session struct {
	h       *Hosted
	w       http.ResponseWriter
	r       *http.Request
	who     Who
	release func()
}

// deadlines bound reading and writing from now on; 0 takes the bounds away.
func (s *session) deadlines(d time.Duration) {
	control, at := http.NewResponseController(s.w), time.Time{}
	if d > 0 {
		at = time.Now().Add(d)
	}
	for _, err := range []error{control.SetReadDeadline(at), control.SetWriteDeadline(at)} {
		if err != nil && !errors.Is(err, http.ErrNotSupported) {
			s.h.cfg.Logger.Debug("set a deadline of a connection", "err", err)
		}
	}
}

// body is what the client sends, decompressed, at most limit bytes and one more.
func (s *session) body(limit int64) (io.Reader, error) {
	switch encoding := s.r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
		return io.LimitReader(s.r.Body, limit+1), nil
	case "gzip", "x-gzip":
		unpacked, err := gzip.NewReader(io.LimitReader(s.r.Body, limit+1))
		if err != nil {
			return nil, fmt.Errorf("decompress the request: %w", err)
		}
		return io.LimitReader(unpacked, limit+1), nil
	default:
		return nil, fmt.Errorf("the content encoding %q is not supported", oneLine(encoding))
	}
}

// protocol is the environment variable that tells git which version the client speaks.
func (s *session) protocol() []string {
	if version := s.r.Header.Get("Git-Protocol"); protocolVersion.MatchString(version) {
		return []string{"GIT_PROTOCOL=" + version}
	}
	return nil
}

func (s *session) advertiseFetch(ctx context.Context) {
	out, err := s.h.do(ctx, run{args: []string{"upload-pack", "--stateless-rpc", "--http-backend-info-refs", s.h.dir}, env: s.protocol()})
	if err != nil {
		s.failed("list references", err)
		return
	}
	s.w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
	if s.r.Header.Get("Git-Protocol") != "version=2" {
		s.write("001e# service=git-upload-pack\n0000")
	}
	s.write(string(out))
}

// fetch runs git upload-pack between the request and the answer.
func (s *session) fetch(ctx context.Context) {
	body, err := s.body(maxFetchRequest)
	if err != nil {
		http.Error(s.w, err.Error(), http.StatusBadRequest)
		return
	}
	s.w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
	_, err = s.h.do(ctx, run{
		args: []string{"upload-pack", "--stateless-rpc", s.h.dir}, env: s.protocol(),
		stdin: body, stdout: flusher{s.w}, timeout: s.h.limits.TransferTimeout,
	})
	if err != nil && ctx.Err() == nil {
		s.h.cfg.Logger.Info("a fetch ended early", "err", err)
	}
}

// flusher sends each piece at once.
type flusher struct{ http.ResponseWriter }

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if err == nil {
		err = http.NewResponseController(f.ResponseWriter).Flush()
	}
	return n, err
}

// failed answers a request that this side could not serve.
func (s *session) failed(what string, err error) {
	s.h.cfg.Logger.Error("serve git", "what", what, "err", err)
	http.Error(s.w, "could not "+what, http.StatusInternalServerError)
}

// write sends a part of an answer. A client that is gone shows in the request's context.
func (s *session) write(text string) { _, _ = io.WriteString(s.w, text) }
