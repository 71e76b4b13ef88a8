package engine_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

func TestPullFailures(t *testing.T) {
	const password = "hunter2 hunter2"
	tests := []struct {
		name, message string
		status        int
		sentinel      error
		class         api.ErrorClass
		reason        api.Reason
	}{
		{"no manifest", "manifest for example.org/i:1 not found: manifest unknown: manifest unknown", 404, engine.ErrNotFound, api.Waiting, api.ReasonImageMissing},
		{"no manifest, of a registry that does not say JSON", `unknown: {"errors":[{"code":"MANIFEST_UNKNOWN","message":"Unknown manifest"}]}`, 500, engine.ErrNotFound, api.Waiting, api.ReasonImageMissing},
		{"no repository, of a registry that does not say JSON", `unknown: {"errors":[{"code":"NAME_UNKNOWN","message":"Unknown name"}]}`, 500, engine.ErrNotFound, api.Waiting, api.ReasonImageMissing},
		{"hub denies", "pull access denied for i, repository does not exist or may require 'docker login': denied", 404, engine.ErrDenied, api.Waiting, api.ReasonImageDenied},
		{"registry denies", "Get https://example.org/v2/: unauthorized: authentication required", 500, engine.ErrDenied, api.Waiting, api.ReasonImageDenied},
		{"no credentials", "Head https://example.org/v2/i/manifests/1: no basic auth credentials", 500, engine.ErrDenied, api.Waiting, api.ReasonImageDenied},
		{"platform", "no matching manifest for linux/amd64 in the manifest list entries", 404, engine.ErrNotFound, api.Waiting, api.ReasonImageMissing},
		{"no network", "Get https://example.org/v2/: dial tcp: lookup example.org: no such host", 500, nil, api.Transient, api.ReasonImagePull},
		{"too many", "toomanyrequests: You have reached your pull rate limit", 500, nil, api.Transient, api.ReasonImagePull},
		{"disk", "write /var/lib/docker/tmp/x: no space left on device", 500, engine.ErrNoSpace, api.Waiting, api.ReasonDiskFull},
		{"echo", "bad credentials " + password + " refused: unauthorized", 500, engine.ErrDenied, api.Waiting, api.ReasonImageDenied},
	}
	for _, tc := range tests {
		for _, inStream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stream=%t", tc.name, inStream), func(t *testing.T) {
				c := fakeEngine(t, "1.41", func(w http.ResponseWriter, _ *http.Request) {
					if !inStream {
						refuse(w, tc.status, tc.message)
						return
					}
					_ = json.NewEncoder(w).Encode(map[string]any{"status": "Pulling"})
					_ = json.NewEncoder(w).Encode(map[string]any{"error": tc.message, "errorDetail": map[string]string{"message": tc.message}})
				})
				err := c.Pull(t.Context(), engine.PullRequest{Ref: "example.org/i:1", Username: "u", Password: password})
				failure, ok := errors.AsType[*engine.Error](err)
				if !ok || failure.Class != tc.class || failure.Reason != tc.reason {
					t.Fatalf("got %v: %+v", err, failure)
				}
				for _, sentinel := range []error{engine.ErrNotFound, engine.ErrDenied, engine.ErrNoSpace, engine.ErrInvalid} {
					if errors.Is(err, sentinel) != errors.Is(tc.sentinel, sentinel) {
						t.Errorf("%v: is %v: %t", err, sentinel, errors.Is(err, sentinel))
					}
				}
				if strings.Contains(err.Error(), password) {
					t.Errorf("password in %q", err)
				}
			})
		}
	}
}

func TestPullSendsCredentialsOnceAndWaitsForProgress(t *testing.T) {
	t.Parallel()
	const idle = 5 * time.Second
	var header, query string
	var pulls atomic.Int32
	_, server := fakeEngineAt(t, "1.41", func(w http.ResponseWriter, r *http.Request) {
		if pulls.Add(1) > 1 {
			if r.Header.Get("X-Registry-Auth") != "" {
				t.Error("credentials were kept")
			}
			return
		}
		header, query = r.Header.Get("X-Registry-Auth"), r.URL.Query().Encode()
		// Slower in all than the limit, but never idle for as long as it.
		for began := time.Now(); time.Since(began) < idle+time.Second; {
			_, _ = fmt.Fprintln(w, `{"status":"Downloading"}`)
			w.(http.Flusher).Flush()
			wait(r.Context(), 200*time.Millisecond)
		}
	})
	c := fakeClient(t, "tcp://"+server.Listener.Addr().String(), idle)
	if err := c.Pull(t.Context(), engine.PullRequest{Ref: "example.org/i:1", Username: "u", Password: "p?>~", Platform: "linux/arm64/v8"}); err != nil {
		t.Fatal(err)
	}
	decoded, err := base64.URLEncoding.DecodeString(header)
	if err != nil || string(decoded) != `{"username":"u","password":"p?\u003e~","serveraddress":"example.org"}` {
		t.Errorf("header %q: %s, %v", header, decoded, err)
	}
	if query != "fromImage=example.org%2Fi&platform=linux%2Farm64%2Fv8&tag=1" {
		t.Errorf("query %s", query)
	}
	if err := c.Pull(t.Context(), engine.PullRequest{Ref: "example.org/i:1"}); err != nil {
		t.Fatal(err)
	}
}

func wait(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

func TestPullWithoutProgressTimesOut(t *testing.T) {
	_, server := fakeEngineAt(t, "1.41", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintln(w, `{"status":"Pulling"}`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := fakeClient(t, "tcp://"+server.Listener.Addr().String(), short)
	if err := c.Pull(t.Context(), engine.PullRequest{Ref: "i"}); !errors.Is(err, engine.ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

// TestPullOfAHungEngineTimesOut, also while another call is still being connected.
func TestPullOfAHungEngineTimesOut(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "hung.sock")
	listener, err := net.Listen("unix", socket) //nolint:noctx // never blocks
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	c, err := engine.New(engine.Config{
		Host: "unix://" + socket, Query: time.Minute, Change: time.Minute, Start: time.Minute, PullIdle: short, StopMargin: time.Minute, MaxBody: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithCancel(t.Context())
	var connecting sync.WaitGroup
	connecting.Go(func() { _, _ = c.Info(ctx) })
	defer connecting.Wait()
	defer cancel()
	conn, err := listener.Accept() // from here on the other call waits for an answer
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = c.Pull(t.Context(), engine.PullRequest{Ref: "example.org/i:1"})
	if failure, ok := errors.AsType[*engine.Error](err); !ok || !errors.Is(err, engine.ErrTimeout) || failure.Reason != api.ReasonEngineHung {
		t.Errorf("got %v", err)
	}
}
