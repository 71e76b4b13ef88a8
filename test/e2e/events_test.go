package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"ktrdr.io/fleet/test/look"
)

// event is one of the engine's events.
type event struct {
	Action string
	Actor  struct {
		ID         string
		Attributes map[string]string
	}
	TimeNano int64 `json:"timeNano"`
}

// heard are the events of a project's containers, as they come: the engine itself remembers
// no more than 256, those of all tests together.
type heard struct {
	mu   sync.Mutex
	list []event
}

// hear listens from now until the test ends.
func (d docker) hear(t testing.TB, project string) *heard {
	t.Helper()
	now := time.Now()
	filter := url.QueryEscape(`{"type":["container"],"label":["com.docker.compose.project=` + project + `"]}`)
	address := fmt.Sprintf("http://docker/v1.41/events?since=%d.%09d&filters=%s", now.Unix(), now.Nanosecond(), filter)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: look.Socket(d.socket)}).Do(req) //nolint:bodyclose // by the cleanup
	if err != nil {
		t.Fatal(err)
	}
	h, done := &heard{}, make(chan struct{})
	go func() {
		defer close(done)
		for dec := json.NewDecoder(resp.Body); ; {
			var e event
			if dec.Decode(&e) != nil {
				return
			}
			h.mu.Lock()
			h.list = append(h.list, e)
			h.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = resp.Body.Close()
	})
	return h
}

// all are the events that have come by now.
func (h *heard) all() []event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]event(nil), h.list...)
}

// execs are the commands that were run in containers.
func (h *heard) execs() []string {
	var out []string
	for _, e := range h.all() {
		if command, ok := strings.CutPrefix(e.Action, "exec_create: "); ok {
			out = append(out, command)
		}
	}
	return out
}

// ends are the ends of containers.
func (h *heard) ends() []event {
	var out []event
	for _, e := range h.all() {
		if e.Action == "die" {
			out = append(out, e)
		}
	}
	return out
}

// exitCode of a container that died, which an event tells.
func (e event) exitCode() string { return e.Actor.Attributes["exitCode"] }
