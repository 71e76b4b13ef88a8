package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const dockerSocket = "/var/run/docker.sock"

// docker is the engine's API without any client of the product: a second pair of eyes.
func dockerCall(ctx context.Context, method, path string, body, out any) (int, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", dockerSocket)
		},
	}}
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://docker/v1.41"+path, in)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode >= 400 {
		return resp.StatusCode, fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, data)
	}
	if out != nil {
		return resp.StatusCode, json.Unmarshal(data, out)
	}
	return resp.StatusCode, nil
}

func engineAnswers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	_, err := dockerCall(ctx, http.MethodGet, "/info", nil, nil)
	return err == nil
}

func docker(t testing.TB, method, path string, body, out any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := dockerCall(ctx, method, path, body, out); err != nil {
		t.Fatal(err)
	}
}

// inspected is what the tests look at in a container.
type inspected struct {
	ID      string `json:"Id"`
	Name    string
	Created string
	Image   string
	State   struct {
		Status    string
		Running   bool
		ExitCode  int
		StartedAt string
		Health    *struct{ Status string }
	}
	Config struct {
		Image  string
		Env    []string
		Labels map[string]string
	}
	HostConfig struct {
		Memory        int64
		RestartPolicy struct{ Name string }
	}
	NetworkSettings struct {
		Networks map[string]struct {
			Aliases   []string
			IPAddress string
		}
	}
	Mounts []struct{ Type, Name, Source, Destination string }
}

// container inspects by name; nil when it does not exist.
func container(t testing.TB, name string) *inspected {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var c inspected
	code, err := dockerCall(ctx, http.MethodGet, "/containers/"+name+"/json", nil, &c)
	if code == http.StatusNotFound {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

func mustContainer(t testing.TB, name string) *inspected {
	t.Helper()
	c := container(t, name)
	if c == nil {
		t.Fatalf("container %s does not exist", name)
	}
	return c
}

// marks are the labels by which the tests find what they, or an aborted run, left.
func marks() []string {
	return []string{"io.ktrdr.node=e2e", "io.ktrdr.e2e=1", "com.docker.compose.project=e2e", "com.docker.compose.project=e2e-core"}
}

// sweep removes everything that carries a mark.
func sweep(ctx context.Context) {
	for _, mark := range marks() {
		filter := url.QueryEscape(`{"label":["` + mark + `"]}`)
		var containers []struct{ ID string }
		if _, err := dockerCall(ctx, http.MethodGet, "/containers/json?all=1&filters="+filter, nil, &containers); err != nil {
			continue
		}
		for _, c := range containers {
			_, _ = dockerCall(ctx, http.MethodDelete, "/containers/"+c.ID+"?force=1&v=1", nil, nil)
		}
		var networks []struct{ ID string }
		_, _ = dockerCall(ctx, http.MethodGet, "/networks?filters="+filter, nil, &networks)
		for _, n := range networks {
			_, _ = dockerCall(ctx, http.MethodDelete, "/networks/"+n.ID, nil, nil)
		}
		var volumes struct{ Volumes []struct{ Name string } }
		_, _ = dockerCall(ctx, http.MethodGet, "/volumes?filters="+filter, nil, &volumes)
		for _, v := range volumes.Volumes {
			_, _ = dockerCall(ctx, http.MethodDelete, "/volumes/"+v.Name+"?force=1", nil, nil)
		}
	}
}

// names lists the containers of a project.
func names(t testing.TB, project string) []string {
	t.Helper()
	filter := url.QueryEscape(`{"label":["com.docker.compose.project=` + project + `"]}`)
	var list []struct{ Names []string }
	docker(t, http.MethodGet, "/containers/json?all=1&filters="+filter, nil, &list)
	var out []string
	for _, c := range list {
		out = append(out, strings.TrimPrefix(c.Names[0], "/"))
	}
	return out
}
