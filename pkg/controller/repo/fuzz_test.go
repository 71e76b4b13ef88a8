package repo_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/controller/repo"
)

const zero = "0000000000000000000000000000000000000000"

// packet is a pkt-line.
func packet(payload string) string { return fmt.Sprintf("%04x%s", len(payload)+4, payload) }

// FuzzReceive feeds the handler anything as a push: no panic, an answer, and a head that stays.
func FuzzReceive(f *testing.F) {
	one := strings.Repeat("1", 40)
	command := packet(zero + " " + one + " refs/heads/main\x00 report-status side-band-64k push-options object-format=sha1 agent=x\n")
	for _, seed := range []string{
		"", "0000", "0", "zzzz", "0001", "0003", "fff0", "ffff", "+001", command + "0000", command, command + "0000000aoption0000PACK",
		packet("shallow "+one) + "0000", packet(zero+" "+zero+" refs/heads/main") + "0000", "0004", "00040000",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	g := newGate(f)
	cfg := config(f, g)
	cfg.Authorize = func(*http.Request, bool) (repo.Who, error) { return repo.Who{Name: "ann"}, nil }
	h := open(f, cfg)
	f.Fuzz(func(t *testing.T, data []byte, compressed bool) {
		var body bytes.Buffer
		r := httptest.NewRequest(http.MethodPost, "/desired-state.git/git-receive-pack", &body)
		r.Header.Set("Content-Type", "application/x-git-receive-pack-request")
		if compressed {
			r.Header.Set("Content-Encoding", "gzip")
			w := gzip.NewWriter(&body)
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			body.Write(data)
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		if answer.Code != http.StatusOK && answer.Code != http.StatusBadRequest {
			t.Errorf("status %d", answer.Code)
		}
		if len(g.pushes()) > 0 {
			t.Error("a push is accepted")
		}
	})
}

// TestRequests shows what the handler answers besides pushes and fetches.
func TestRequests(t *testing.T) {
	s := newServer(t, nil)
	for name, c := range map[string]struct {
		method, path, kind, encoding, body string
		want                               int
	}{
		"dumb":             {"GET", "/info/refs", "", "", "", http.StatusNotFound},
		"other service":    {"GET", "/info/refs?service=git-upload-archive", "", "", "", http.StatusNotFound},
		"a file":           {"GET", "/HEAD", "", "", "", http.StatusNotFound},
		"post to refs":     {"POST", "/info/refs?service=git-upload-pack", "", "", "", http.StatusMethodNotAllowed},
		"get of a push":    {"GET", "/git-receive-pack", "", "", "", http.StatusMethodNotAllowed},
		"content type":     {"POST", "/git-receive-pack", "text/plain", "", "0000", http.StatusUnsupportedMediaType},
		"probe":            {"POST", "/git-receive-pack", "application/x-git-receive-pack-request", "", "0000", http.StatusOK},
		"garbage":          {"POST", "/git-receive-pack", "application/x-git-receive-pack-request", "", "garbage", http.StatusBadRequest},
		"no gzip":          {"POST", "/git-receive-pack", "application/x-git-receive-pack-request", "gzip", "0000", http.StatusBadRequest},
		"other encoding":   {"POST", "/git-upload-pack", "application/x-git-upload-pack-request", "br", "0000", http.StatusBadRequest},
		"empty repository": {"GET", "/info/refs?service=git-receive-pack", "", "", "", http.StatusOK},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, s.http.URL+"/desired-state.git"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("ann", "token-of-ann")
		r.Header.Set("Content-Type", c.kind)
		r.Header.Set("Content-Encoding", c.encoding)
		response, err := s.http.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.StatusCode != c.want {
			t.Errorf("%s: %s, %v, want %d", name, response.Status, err, c.want)
		}
	}
}

// TestGzipBomb is cut off at the limit of a push.
func TestGzipBomb(t *testing.T) {
	s, _ := filled(t, func(c *repo.HostedConfig) { c.Limits.MaxPushBytes = 100_000 })
	var body bytes.Buffer
	w := gzip.NewWriter(&body)
	line := packet(zero + " " + strings.Repeat("1", 40) + " refs/heads/main\x00report-status\n")
	if _, err := w.Write([]byte(line + "0000PACK" + strings.Repeat("\x00", 50<<20))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.http.URL+"/desired-state.git/git-receive-pack", &body)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("ann", "token-of-ann")
	r.Header.Set("Content-Type", "application/x-git-receive-pack-request")
	r.Header.Set("Content-Encoding", "gzip")
	response, err := s.http.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var said bytes.Buffer
	if _, err := said.ReadFrom(response.Body); err != nil || !strings.Contains(said.String(), "ng refs/heads/main") {
		t.Errorf("%s, %v: %q", response.Status, err, said.String())
	}
}
