package image_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"ktrdr.io/fleet/test/demo/image"
)

const (
	prefix    = "ktrdr-demo-image-test"
	labLabel  = "io.ktrdr.test=" + prefix
	labWindow = 2 * time.Minute
)

// lab is the machine's engine with the images under test; all it makes carries the label and is removed in the end.
type lab struct {
	t      *testing.T
	client *http.Client
}

// newLab skips the test when no engine answers, and removes what an aborted run left.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, client: &http.Client{Timeout: labWindow, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", "/var/run/docker.sock")
		},
	}}}
	resp, err := l.client.Get("http://engine/_ping")
	if err != nil {
		t.Skipf("SKIPPED: no Docker engine answers on /var/run/docker.sock, so the demonstration images are not run: %v", err)
	}
	resp.Body.Close()
	l.clean()
	t.Cleanup(l.clean)
	return l
}

// specs are the backend and database images under names that nobody else uses.
func (l *lab) specs() []image.Spec {
	all := image.Catalog()
	backend, db := all[0], all[3]
	backend.Tags, db.Tags = []string{prefix + ":backend"}, []string{prefix + ":db"}
	return []image.Spec{backend, db}
}

func (l *lab) clean() {
	// Cleanup functions run after t.Context has ended.
	ctx := context.Background()
	filter := "?all=1&filters=" + url.QueryEscape(`{"label":["`+labLabel+`"]}`)
	var found []struct{ Id string } //nolint:revive // the engine's spelling.
	l.do(ctx, http.MethodGet, "/containers/json"+filter, nil, &found)
	for _, c := range found {
		l.do(ctx, http.MethodDelete, "/containers/"+c.Id+"?force=1&v=1", nil, nil)
	}
	l.do(ctx, http.MethodDelete, "/networks/"+prefix, nil, nil)
	if _, err := image.Remove(ctx, image.Options{Specs: l.specs()}); err != nil {
		l.t.Errorf("remove images: %v", err)
	}
	if code := l.do(ctx, http.MethodGet, "/images/"+prefix+":later/json", nil, nil); code != http.StatusNotFound {
		l.t.Errorf("a tag that was added later is left over: status %d", code)
	}
}

// do calls the engine and returns the status; out may be nil.
func (l *lab) do(ctx context.Context, method, path string, in, out any) int {
	l.t.Helper()
	raw, err := json.Marshal(in)
	if err != nil {
		l.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://engine"+path, bytes.NewReader(raw))
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.client.Do(req)
	if err != nil {
		l.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatalf("%s %s: %v", method, path, err)
	}
	if resp.StatusCode >= 400 && resp.StatusCode != http.StatusNotFound {
		l.t.Fatalf("%s %s: %s %s", method, path, resp.Status, body)
	}
	if out != nil {
		if err := json.Unmarshal(body, out); err != nil {
			l.t.Fatalf("%s %s: %v in %s", method, path, err, body)
		}
	}
	return resp.StatusCode
}

// container is what a scenario says about one container.
type container struct {
	name, tag string
	env, cmd  []string
	port      string
}

// run starts a container in the lab's network. Its inherited healthcheck runs every 200 ms.
func (l *lab) run(c container) {
	l.t.Helper()
	body := map[string]any{
		"Image": prefix + ":" + c.tag, "Env": c.env, "Cmd": c.cmd,
		"Labels":     map[string]string{"io.ktrdr.test": prefix},
		"HostConfig": map[string]any{"NetworkMode": prefix},
		"NetworkingConfig": map[string]any{"EndpointsConfig": map[string]any{
			prefix: map[string]any{"Aliases": []string{c.name}},
		}},
	}
	if c.tag == "backend" {
		body["Healthcheck"] = map[string]any{
			"Interval": 200 * time.Millisecond, "StartPeriod": time.Millisecond, "Retries": 3,
		}
	}
	if c.port != "" {
		body["ExposedPorts"] = map[string]any{c.port + "/tcp": map[string]any{}}
		body["HostConfig"].(map[string]any)["PortBindings"] = map[string]any{
			c.port + "/tcp": []map[string]string{{"HostIp": "127.0.0.1", "HostPort": ""}},
		}
	}
	l.do(l.t.Context(), http.MethodPost, "/containers/create?name="+prefix+"-"+c.name, body, nil)
	l.do(l.t.Context(), http.MethodPost, "/containers/"+prefix+"-"+c.name+"/start", nil, nil)
}

// state is what inspect tells of a container.
type state struct {
	State struct {
		Running  bool
		ExitCode int
		Health   struct{ Status string }
	}
	NetworkSettings struct {
		Ports map[string][]struct{ HostPort string }
	}
}

func (l *lab) inspect(name string) state {
	l.t.Helper()
	var s state
	l.do(l.t.Context(), http.MethodGet, "/containers/"+prefix+"-"+name+"/json", nil, &s)
	return s
}

// exec runs a command in a container and returns its exit code.
func (l *lab) exec(name string, cmd ...string) int {
	l.t.Helper()
	var made struct{ Id string } //nolint:revive // the engine's spelling.
	l.do(l.t.Context(), http.MethodPost, "/containers/"+prefix+"-"+name+"/exec",
		map[string]any{"Cmd": cmd, "AttachStdout": true}, &made)
	l.do(l.t.Context(), http.MethodPost, "/exec/"+made.Id+"/start", map[string]any{}, nil)
	var ended struct{ ExitCode int }
	l.do(l.t.Context(), http.MethodGet, "/exec/"+made.Id+"/json", nil, &ended)
	return ended.ExitCode
}

// eventually polls until what holds, and says what was waited for when it does not.
func (l *lab) eventually(what string, holds func() bool) {
	l.t.Helper()
	deadline := time.NewTimer(labWindow)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			l.t.Fatalf("after %s: still not %s", labWindow, what)
		case <-tick.C:
		}
	}
}
