package probe_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/probe"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/leaks"
	"ktrdr.io/fleet/test/port"
)

// get has time enough for an answer.
func get(path string) api.Probe {
	return api.Probe{HTTP: &api.HTTPProbe{Path: path}, Timeout: time.Minute}
}

func TestHTTP(t *testing.T) {
	defer leaks.None(t)()
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	mux := http.NewServeMux()
	for path, status := range map[string]int{"/ok": 200, "/none": 204, "/redirect": 302, "/bad": 400, "/gone": 404, "/down": 503} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "body with a password")
		})
	}
	mux.HandleFunc("/query", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "a=1&b=%20" {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/header", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) })
	server := httptest.NewServer(mux)
	defer server.Close()
	secure := httptest.NewTLSServer(mux)
	defer secure.Close()
	addr := server.Listener.Addr().String()
	slow := get("/slow")
	slow.Timeout = 300 * time.Millisecond
	cases := []struct {
		name    string
		addr    string
		probe   api.Probe
		healthy bool
		word    string
	}{
		{"200", addr, get("/ok"), true, ""},
		{"no slash", addr, get("ok"), true, ""},
		{"204", addr, get("/none"), true, ""},
		{"redirect to another host", addr, get("/redirect"), true, ""},
		{"query", addr, get("/query?a=1&b=%20"), true, ""},
		{"body without end", addr, get("/endless"), true, ""},
		{"400", addr, get("/bad"), false, "status 400"},
		{"404", addr, get("/gone?token=hunter2"), false, "status 404"},
		{"503", addr, get("/down"), false, "status 503"},
		{"slow", addr, slow, false, "deadline"},
		{"header without end", addr, get("/header"), false, ""},
		{"refused", port.Reserve(t), get("/ok"), false, "refused"},
		{"another host in the path", addr, get("//" + other.Listener.Addr().String() + "/"), false, "404"},
		{"https", secure.Listener.Addr().String(), api.Probe{HTTP: &api.HTTPProbe{Path: "/ok", Scheme: "HTTPS"}, Timeout: time.Minute}, true, ""},
		{"http to https", secure.Listener.Addr().String(), get("/ok"), false, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := probe.Check(t.Context(), c.addr, c.probe)
			if (err == nil) != c.healthy || err != nil && !errors.Is(err, probe.ErrNotHealthy) {
				t.Fatalf("got %v, want healthy %v", err, c.healthy)
			}
			if err != nil && (!strings.Contains(err.Error(), c.word) || strings.Contains(err.Error(), "password") || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("error %q, want the word %q and nothing of the answer or query", err, c.word)
			}
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests went to another host", n)
	}
}

func TestTCP(t *testing.T) {
	defer leaks.None(t)()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer listener.Close()
	tcp := api.Probe{TCP: &api.TCPProbe{}, Timeout: time.Minute}
	check(t, probe.Check(t.Context(), listener.Addr().String(), tcp))
	conn, err := listener.Accept()
	check(t, err)
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection was not closed: %v", err)
	}
	if err := probe.Check(t.Context(), port.Reserve(t), tcp); !errors.Is(err, probe.ErrNotHealthy) {
		t.Errorf("a closed port gave %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := probe.Check(ctx, listener.Addr().String(), tcp); err == nil {
		t.Error("a cancelled check succeeded")
	}
}

func TestNoProbe(t *testing.T) {
	if err := probe.Check(t.Context(), "x", api.Probe{Exec: []string{"true"}}); !errors.Is(err, probe.ErrNoProbe) {
		t.Errorf("an exec probe gave %v", err)
	}
	if err := probe.Check(t.Context(), "x", api.Probe{HTTP: &api.HTTPProbe{Scheme: "ftp"}}); err == nil {
		t.Error("ftp was accepted")
	}
}
