package backend_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/backend"
	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/contract"
	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/inproc"
	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/worker"
)

const backendHost = "backend:8000"

// fleet is a backend and workers on one virtual network and clock. It must be made inside a synctest bubble.
type fleet struct {
	t   *testing.T
	net *inproc.Network
	dir string
}

// inBubble runs scenario on virtual time with an empty network.
func inBubble(t *testing.T, scenario func(t *testing.T, f *fleet)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		scenario(t, &fleet{t: t, net: inproc.New(), dir: dir})
	})
}

// backend starts a backend with an empty registry in place of the one before and returns its stop function.
func (f *fleet) backend() context.CancelFunc {
	ctx, cancel := context.WithCancel(f.t.Context())
	s := backend.New(backend.Config{HealthInterval: 10 * time.Second, Version: "1"}, f.net.Client(), slog.New(slog.DiscardHandler))
	f.net.Up(backendHost, s.Handler())
	go s.Watch(ctx)
	return func() {
		cancel()
		f.net.Down(backendHost)
	}
}

// worker starts a worker whose id is also its host name, and returns it with its stop function.
func (f *fleet) worker(id string, kind contract.WorkerType) (*worker.Worker, context.CancelFunc) {
	ctx, cancel := context.WithCancel(f.t.Context())
	w := worker.New(worker.Config{
		ID: id, Type: kind, PublicURL: "http://" + id, BackendURL: "http://" + backendHost,
		CheckpointDir: f.dir, ReregisterAfter: 30 * time.Second,
	}, f.net.Client(), slog.New(slog.DiscardHandler))
	f.net.Up(id, w.Handler())
	go w.Attend(ctx)
	return w, func() {
		cancel()
		f.net.Down(id)
	}
}

// call sends a request to the backend and returns the status; out may be nil.
func (f *fleet) call(method, path string, in, out any) int {
	f.t.Helper()
	return f.callHost(backendHost, method, path, in, out)
}

func (f *fleet) callHost(host, method, path string, in, out any) int {
	f.t.Helper()
	err := contract.Call(f.t.Context(), f.net.Client(), method, "http://"+host+path, in, out)
	if err == nil {
		return http.StatusOK
	}
	if status, ok := asStatus(err); ok {
		return status
	}
	f.t.Fatalf("%s %s: %v", method, path, err)
	return 0
}

// status returns the backend's word for a worker, empty when it does not know it.
func (f *fleet) status(id string) contract.WorkerStatus {
	f.t.Helper()
	var w contract.Worker
	if f.call(http.MethodGet, "/api/v1/workers/"+id, nil, &w) == http.StatusNotFound {
		return ""
	}
	return w.Status
}

// after lets virtual time pass and everything due in it happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
