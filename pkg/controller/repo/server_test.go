package repo_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/controller/repo"
)

// server is a hosted repository behind real TLS.
type server struct {
	tb   testing.TB
	gate *gate
	cfg  repo.HostedConfig
	repo *repo.Hosted
	http *httptest.Server
	ca   string
}

// authorize knows ann, who may write, and bob, who may not.
func authorize(r *http.Request, write bool) (repo.Who, error) {
	name, password, _ := r.BasicAuth()
	switch {
	case password != "token-of-"+name || name != "ann" && name != "bob":
		return repo.Who{}, fmt.Errorf("%w: use a token as the password", repo.ErrUnauthenticated)
	case write && name == "bob":
		return repo.Who{}, fmt.Errorf("%w: bob is a viewer", repo.ErrForbidden)
	}
	return repo.Who{Name: name}, nil
}

func newServer(tb testing.TB, change func(*repo.HostedConfig)) *server {
	tb.Helper()
	s := &server{tb: tb, gate: newGate(tb)}
	s.cfg = config(tb, s.gate)
	s.cfg.Authorize = authorize
	if change != nil {
		change(&s.cfg)
	}
	s.repo = open(tb, s.cfg)
	mux := http.NewServeMux()
	mux.Handle("/desired-state.git/", s.repo)
	s.http = httptest.NewUnstartedServer(mux)
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.http.StartTLS()
	tb.Cleanup(func() {
		s.http.CloseClientConnections()
		s.http.Close()
		if err := s.repo.Close(); err != nil {
			tb.Error(err)
		}
	})
	s.ca = filepath.Join(tb.TempDir(), "ca.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
	if err := os.WriteFile(s.ca, cert, 0o600); err != nil {
		tb.Fatal(err)
	}
	return s
}

// url is the repository's with somebody's credentials.
func (s *server) url(name string) string {
	return strings.Replace(s.http.URL, "https://", "https://"+name+":token-of-"+name+"@", 1) + "/desired-state.git"
}

// clone is a work folder whose origin is the server.
func (s *server) clone(name string) *work {
	s.tb.Helper()
	w := newWork(s.tb)
	w.env = []string{"GIT_SSL_CAINFO=" + s.ca}
	w.git("remote", "add", "origin", s.url(name))
	return w
}

// filled is a server with the sample, pushed by ann.
func filled(tb testing.TB, change func(*repo.HostedConfig)) (*server, *work) {
	tb.Helper()
	s := newServer(tb, change)
	w := s.clone("ann")
	w.sample()
	w.git("push", "-q", "-o", "nowait", "origin", "main")
	return s, w
}

func (s *server) head() string {
	s.tb.Helper()
	head, err := s.gate.head(context.Background()) //nolint:usetesting // also used in cleanups
	if err != nil {
		s.tb.Fatal(err)
	}
	return head
}

// branch is what a clone would get.
func (s *server) branch(w *work) string {
	s.tb.Helper()
	id, _, _ := strings.Cut(w.git("ls-remote", "origin", "refs/heads/main"), "\t")
	return id
}
