package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/leaks"
)

const fakeID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// fakeEngine serves answers of an engine that speaks the given API version.
func fakeEngine(t *testing.T, version string, handler http.HandlerFunc) *engine.Client {
	t.Helper()
	c, _ := fakeEngineAt(t, version, handler)
	return c
}

func fakeEngineAt(t *testing.T, version string, handler http.HandlerFunc) (*engine.Client, *httptest.Server) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", version)
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			return
		}
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	return fakeClient(t, "tcp://"+server.Listener.Addr().String(), time.Minute), server
}

// short is for calls that get no answer.
const short = 300 * time.Millisecond

// fakeClient gives every call the same time.
func fakeClient(t *testing.T, host string, limit time.Duration) *engine.Client {
	t.Helper()
	c, err := engine.New(engine.Config{
		Host: host, Query: limit, Change: limit, Start: limit, PullIdle: limit, StopMargin: limit, MaxBody: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}

// everyCall is each method of the client, for what holds of all of them. The limit is for what
// has none of its own.
func everyCall(c *engine.Client, limit time.Duration) map[string]func(context.Context) error {
	zero := time.Duration(0)
	return map[string]func(context.Context) error{
		"info":             func(ctx context.Context) error { _, err := c.Info(ctx); return err },
		"list":             func(ctx context.Context) error { _, err := c.List(ctx); return err },
		"inspectContainer": func(ctx context.Context) error { _, err := c.InspectContainer(ctx, fakeID); return err },
		"measure":          func(ctx context.Context) error { _, err := c.MeasureContainer(ctx, fakeID); return err },
		"inspectNetwork":   func(ctx context.Context) error { _, err := c.InspectNetwork(ctx, "n"); return err },
		"inspectVolume":    func(ctx context.Context) error { _, err := c.InspectVolume(ctx, "v"); return err },
		"inspectImage":     func(ctx context.Context) error { _, err := c.InspectImage(ctx, "i", ""); return err },
		"events": func(ctx context.Context) error {
			events, failed := c.Events(ctx, time.Time{})
			for range events {
			}
			return <-failed
		},
		"pull": func(ctx context.Context) error { return c.Pull(ctx, engine.PullRequest{Ref: "example.org/i:1"}) },
		"createNetwork": func(ctx context.Context) error {
			_, err := c.CreateNetwork(ctx, api.NetworkSpec{Name: "n"}, nil)
			return err
		},
		"removeNetwork": func(ctx context.Context) error { return c.RemoveNetwork(ctx, "n") },
		"connect": func(ctx context.Context) error {
			return c.Connect(ctx, engine.ConnectRequest{NetworkID: "n", ContainerID: fakeID})
		},
		"disconnect":   func(ctx context.Context) error { return c.Disconnect(ctx, "n", fakeID) },
		"createVolume": func(ctx context.Context) error { return c.CreateVolume(ctx, api.VolumeSpec{Name: "v"}, nil) },
		"create": func(ctx context.Context) error {
			_, err := c.Create(ctx, engine.CreateRequest{Name: "c", Spec: api.ContainerSpec{Image: "i"}})
			return err
		},
		"copyFiles": func(ctx context.Context) error { return c.CopyFiles(ctx, fakeID, []api.File{{Target: "/x"}}) },
		"start":     func(ctx context.Context) error { return c.Start(ctx, fakeID) },
		"stop":      func(ctx context.Context) error { return c.Stop(ctx, engine.StopRequest{ID: fakeID, Grace: &zero}) },
		"restart":   func(ctx context.Context) error { return c.Restart(ctx, engine.StopRequest{ID: fakeID, Grace: &zero}) },
		"remove":    func(ctx context.Context) error { return c.Remove(ctx, fakeID) },
		"rename":    func(ctx context.Context) error { return c.Rename(ctx, fakeID, "x") },
		"update":    func(ctx context.Context) error { return c.Update(ctx, engine.UpdateRequest{ID: fakeID}) },
		"unpause":   func(ctx context.Context) error { return c.Unpause(ctx, fakeID) },
		"exec": func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			_, err := c.Exec(ctx, engine.ExecRequest{ID: fakeID, Command: []string{"x"}})
			return err
		},
		"logs": func(ctx context.Context) error { _, err := c.Logs(ctx, fakeID, 1); return err },
	}
}

// expect runs every call against one kind of engine and wants one kind of failure.
func expect(t *testing.T, c *engine.Client, sentinel error, reason api.Reason, skip ...string) {
	t.Helper()
	for name, run := range everyCall(c, short) {
		if strings.Contains(" "+strings.Join(skip, " ")+" ", " "+name+" ") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			err := run(t.Context())
			failure, ok := errors.AsType[*engine.Error](err)
			if !ok || !errors.Is(err, sentinel) || (reason != "" && failure.Reason != reason) {
				t.Fatalf("got %v (%+v), want %v and %s", err, failure, sentinel, reason)
			}
			if failure.Op == "" || failure.Object == "" || failure.Class == "" || failure.Reason == "" {
				t.Errorf("incomplete: %+v", failure)
			}
			if took := time.Since(begin); took > 9*time.Second { // the limit of nobody else is shorter
				t.Errorf("took %s", took)
			}
			if len(err.Error()) > 700 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
		})
	}
}

// TestHungEngine is an engine under SIGSTOP: the kernel accepts, nobody answers.
func TestHungEngine(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "hung.sock")
	listener, err := net.Listen("unix", socket) //nolint:noctx // never blocks
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	expect(t, fakeClient(t, "unix://"+socket, short), engine.ErrTimeout, api.ReasonEngineHung)
}

// TestEngineHangsAfterPing stops answering when it is asked for something.
func TestEngineHangsAfterPing(t *testing.T) {
	release := make(chan struct{})
	_, server := fakeEngineAt(t, "1.41", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	expect(t, fakeClient(t, "tcp://"+server.Listener.Addr().String(), short), engine.ErrTimeout, api.ReasonEngineHung)
}

func TestEngineIsGone(t *testing.T) {
	expect(t, fakeClient(t, "unix://"+filepath.Join(t.TempDir(), "none.sock"), time.Minute), engine.ErrUnreachable, api.ReasonEngineDown)
}

func TestEngineDiesWhileAnswering(t *testing.T) {
	c := fakeEngine(t, "1.41", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"Id":"` + fakeID[:10]))
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	})
	// Calls without an answer to read succeed on the headers; garbage in a raw stream is no JSON.
	expect(t, c, engine.ErrUnreachable, api.ReasonEngineDown,
		"removeNetwork", "connect", "disconnect", "copyFiles", "start", "stop", "restart", "remove", "rename", "unpause", "exec", "logs")
}

func TestEngineAnswersWithoutEnd(t *testing.T) {
	line := []byte(strings.Repeat(" ", 64<<10))
	_, server := fakeEngineAt(t, "1.41", func(w http.ResponseWriter, _ *http.Request) {
		for range 64 {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	})
	c, err := engine.New(engine.Config{Host: "tcp://" + server.Listener.Addr().String(), MaxBody: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for _, name := range []string{"info", "list", "inspectContainer", "inspectNetwork", "inspectVolume", "inspectImage", "events", "pull", "createVolume", "create"} {
		t.Run(name, func(t *testing.T) {
			if err := everyCall(c, time.Minute)[name](t.Context()); err == nil || !strings.Contains(err.Error(), "too large") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name     string
		status   int
		message  string
		sentinel error
		class    api.ErrorClass
		reason   api.Reason
	}{
		{"conflict", 409, "conflict: wrong state", engine.ErrConflict, api.Transient, api.ReasonEngineFailed},
		{"bad parameter", 400, "invalid thing", engine.ErrInvalid, api.Terminal, api.ReasonEngineFailed},
		{"not found", 404, "no such container", engine.ErrNotFound, api.Transient, api.ReasonEngineFailed},
		{"port", 500, "driver failed programming external connectivity: Bind for 0.0.0.0:80 failed: port is already allocated", engine.ErrConflict, api.Waiting, api.ReasonPortConflict},
		{"port of the host", 500, "listen tcp 0.0.0.0:80: bind: address already in use", engine.ErrConflict, api.Waiting, api.ReasonPortConflict},
		{"disk", 500, "write /var/lib/docker/x: no space left on device", engine.ErrNoSpace, api.Waiting, api.ReasonDiskFull},
		{"bind", 400, `invalid mount config for type "bind": bind source path does not exist: /x`, engine.ErrInvalid, api.Waiting, api.ReasonMountMissing},
		{"panic", 500, "something broke", nil, api.Transient, api.ReasonEngineFailed},
		{"forbidden", 403, "not supported for host network", engine.ErrInvalid, api.Terminal, api.ReasonEngineFailed},
		{"endpoints", 403, "error while removing network: network x has active endpoints", engine.ErrConflict, api.Transient, api.ReasonEngineFailed},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := fakeEngine(t, "1.41", func(w http.ResponseWriter, _ *http.Request) { refuse(w, tc.status, tc.message) })
			failure, ok := errors.AsType[*engine.Error](c.Start(t.Context(), fakeID))
			if !ok || failure.Class != tc.class || failure.Reason != tc.reason {
				t.Fatalf("got %+v", failure)
			}
			if tc.sentinel != nil && !errors.Is(failure, tc.sentinel) {
				t.Errorf("%v is not %v", failure, tc.sentinel)
			}
			if !strings.Contains(failure.Error(), tc.message) {
				t.Errorf("%q lacks the engine's words", failure.Error())
			}
		})
	}
}

func TestProxyAnswersHTML(t *testing.T) {
	c := fakeEngine(t, "1.41", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		_, _ = fmt.Fprint(w, "<html>\n<body>"+strings.Repeat("<p>bad gateway</p>\n", 100)+"</body></html>")
	})
	for _, name := range []string{"info", "create", "exec", "start", "pull"} {
		err := everyCall(c, time.Minute)[name](t.Context())
		if err == nil || !strings.Contains(err.Error(), "bad gateway") || len(err.Error()) > 700 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGoneAndDoneAreSuccess(t *testing.T) {
	answers := map[string]struct {
		status  int
		message string
		calls   []string
	}{
		"gone":      {404, "No such container: x", []string{"remove", "stop", "removeNetwork", "disconnect"}},
		"removing":  {409, "removal of container x is already in progress", []string{"remove"}},
		"connected": {403, "endpoint with name c already exists in network n", []string{"connect"}},
		"apart":     {500, "container x is not connected to network n", []string{"disconnect"}},
		"renamed":   {400, "Error when allocating new name: Renaming a container with the same name as its current name", []string{"rename"}},
		"unpaused":  {409, "Container x is not paused", []string{"unpause"}},
		"same":      {304, "", []string{"start", "stop"}},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			c := fakeEngine(t, "1.41", func(w http.ResponseWriter, _ *http.Request) {
				if answer.status == http.StatusNotModified {
					w.WriteHeader(answer.status)
					return
				}
				refuse(w, answer.status, answer.message)
			})
			for _, call := range answer.calls {
				if err := everyCall(c, time.Minute)[call](t.Context()); err != nil {
					t.Errorf("%s: %v", call, err)
				}
			}
		})
	}
}

// TestVersionIsNegotiatedAgain replaces the engine under a client.
func TestVersionIsNegotiatedAgain(t *testing.T) {
	var version atomic.Pointer[string]
	set := func(v string) { version.Store(&v) }
	set("1.51")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := *version.Load()
		w.Header().Set("Api-Version", now)
		if r.URL.Path == "/_ping" {
			return
		}
		if asked := strings.TrimPrefix(strings.Split(r.URL.Path, "/")[1], "v"); asked > now {
			refuse(w, 400, "client version "+asked+" is too new. Maximum supported API version is "+now)
			return
		}
		_, _ = fmt.Fprint(w, `{"ServerVersion":"x","Driver":"overlay2"}`)
	}))
	defer server.Close()
	c := fakeClient(t, "tcp://"+server.Listener.Addr().String(), time.Minute)
	for _, step := range []struct{ engine, spoken string }{{"1.51", "1.51"}, {"1.41", "1.41"}, {"1.41", "1.41"}, {"1.44", ""}, {"1.44", "1.44"}, {"1.99", ""}, {"1.99", "1.56"}} {
		set(step.engine)
		info, err := c.Info(t.Context())
		if err != nil {
			t.Fatalf("engine %s: %v", step.engine, err)
		}
		// An upgrade is noticed by the answer, so the call after it speaks the new version.
		if step.spoken != "" && info.APIVersion != step.spoken {
			t.Errorf("engine %s: spoken %s, want %s", step.engine, info.APIVersion, step.spoken)
		}
	}
	set("1.40")
	if _, err := c.Info(t.Context()); err == nil {
		t.Error("no error")
	}
	if _, err := c.Info(t.Context()); !errors.Is(err, engine.ErrInvalid) || !strings.Contains(err.Error(), "1.41") {
		t.Errorf("engine of 1.40: %v", err)
	}
}

func TestEventsEndForASlowReader(t *testing.T) {
	defer leaks.None(t)()
	c, server := fakeEngineAt(t, "1.41", func(w http.ResponseWriter, r *http.Request) {
		for i := range 20_000 {
			_, err := fmt.Fprintf(w, `{"Type":"container","Action":"exec_start: /bin/sh -c secret","Actor":{"ID":"%d"},"timeNano":%d}`+"\n", i, i+1)
			if err != nil {
				return
			}
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	events, failed := c.Events(t.Context(), time.Unix(5, 6))
	if err := <-failed; !errors.Is(err, engine.ErrOverflow) {
		t.Errorf("end: %v", err)
	}
	first := <-events
	if first.Action != "exec_start" || first.ID != "0" || !first.Time.Equal(time.Unix(0, 1)) {
		t.Errorf("first event: %+v", first)
	}
	c.Close()
	server.Close()
}

func TestConfigIsValidated(t *testing.T) {
	for _, cfg := range []engine.Config{
		{Host: "unix://relative"}, {Host: "ssh://host"}, {Host: "tcp://"}, {Host: "http://x/path"}, {Query: -1}, {PullIdle: -1}, {MaxBody: -1},
	} {
		if _, err := engine.New(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
	if err := engine.Default().Validate(); err != nil {
		t.Error(err)
	}
}
