package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// engine speaks the Engine API with nothing in between: the floor. Connections are kept.
type engine struct {
	socket string
	http   *http.Client
}

func newEngine(socket string) *engine {
	return &engine{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 64, DisableCompression: true,
	}}}
}

var errNotFound = errors.New("not found")

// open sends a request and returns the answer's body, to be closed.
func (e *engine) open(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://docker/v1.41"+path, in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp.Body, nil
	}
	defer func() { _ = resp.Body.Close() }()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(said))
	if resp.StatusCode == http.StatusNotFound {
		err = fmt.Errorf("%w: %w", errNotFound, err)
	}
	return nil, err
}

// call sends a request and decodes the answer into out, unless that is nil.
func (e *engine) call(ctx context.Context, method, path string, body, out any) error {
	answer, err := e.open(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }()
	if out != nil {
		if err := json.NewDecoder(answer).Decode(out); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	// The connection can be used again only after the last byte.
	_, err = io.Copy(io.Discard, answer)
	return err
}

func (e *engine) post(ctx context.Context, path string, body any) error {
	return e.call(ctx, http.MethodPost, path, body, nil)
}

// service is a container as docker compose would make it.
type service struct {
	project, name string
	// check runs a healthcheck at this interval; zero means none.
	check time.Duration
	// guest is a project whose network the container joins, without being part of that or
	// of any other project: no agent takes it for its own. Empty means that it is no guest.
	guest string
}

func (s service) container() string { return s.project + "-" + s.name + "-1" }

// body is the create request.
func (s service) body() map[string]any {
	labels := map[string]string{
		benchLabel: s.project, "com.docker.compose.project": s.project, "com.docker.compose.service": s.name,
		"com.docker.compose.container-number": "1", "com.docker.compose.oneoff": "False",
	}
	network := s.project + "_default"
	if s.guest != "" {
		labels = map[string]string{benchLabel: s.project}
		network = s.guest + "_default"
	}
	body := map[string]any{
		"Image": imageTag, "Cmd": command(s.name), "Labels": labels,
		"HostConfig": map[string]any{"NetworkMode": network, "RestartPolicy": map[string]any{"Name": "unless-stopped"}},
		"NetworkingConfig": map[string]any{"EndpointsConfig": map[string]any{
			network: map[string]any{"Aliases": []string{s.container(), s.name}},
		}},
	}
	if s.check > 0 {
		body["Healthcheck"] = map[string]any{"Test": append([]string{"CMD"}, checkCommand()...), "Interval": s.check}
	}
	return body
}

// create makes a container, not started, and returns its id.
func (e *engine) create(ctx context.Context, s service) (string, error) {
	var made struct {
		ID string `json:"Id"`
	}
	err := e.call(ctx, http.MethodPost, "/containers/create?name="+url.QueryEscape(s.container()), s.body(), &made)
	return made.ID, err
}

func (e *engine) start(ctx context.Context, id string) error {
	return e.post(ctx, "/containers/"+id+"/start", nil)
}

// remove removes a container; an empty id is one that was never made.
func (e *engine) remove(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	return e.call(ctx, http.MethodDelete, "/containers/"+id+"?force=1&v=1", nil, nil)
}

func (e *engine) createNetwork(ctx context.Context, project string) error {
	return e.post(ctx, "/networks/create", map[string]any{
		"Name": project + "_default", "Driver": "bridge", "CheckDuplicate": true,
		"Labels": map[string]string{benchLabel: project, "com.docker.compose.project": project, "com.docker.compose.network": "default"},
	})
}

// check runs a container's healthcheck once and tells whether it passed.
func (e *engine) check(ctx context.Context, id string) (bool, error) {
	var made struct {
		ID string `json:"Id"`
	}
	err := e.call(ctx, http.MethodPost, "/containers/"+id+"/exec", map[string]any{
		"Cmd": checkCommand(), "AttachStdout": true, "AttachStderr": true,
	}, &made)
	if err != nil {
		return false, err
	}
	if err := e.post(ctx, "/exec/"+made.ID+"/start", map[string]any{}); err != nil {
		return false, err
	}
	for {
		var state struct {
			Running  bool
			ExitCode int
		}
		if err := e.call(ctx, http.MethodGet, "/exec/"+made.ID+"/json", nil, &state); err != nil {
			return false, err
		}
		if !state.Running {
			return state.ExitCode == 0, nil
		}
	}
}
