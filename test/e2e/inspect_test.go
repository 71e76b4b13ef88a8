package e2e_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// inspected is what the tests look at in a container.
type inspected struct {
	ID           string `json:"Id"`
	Name         string
	Created      string
	Image        string
	RestartCount int
	State        struct {
		Status               string
		Running              bool
		Pid                  int
		ExitCode             int
		StartedAt            string
		FinishedAt           string
		Health               *struct{ Status string }
		OOMKilled, Restarted bool
	}
	Config struct {
		Image  string
		Env    []string
		Labels map[string]string
	}
	HostConfig struct {
		Memory        int64
		NetworkMode   string
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

// volume returns the name of the volume at a path of the container.
func (c *inspected) volume(path string) string {
	for _, m := range c.Mounts {
		if m.Destination == path {
			return m.Name
		}
	}
	return ""
}

// same says that a container is the same process as before.
func (c *inspected) same(before *inspected) bool {
	return c.ID == before.ID && c.State.StartedAt == before.State.StartedAt
}

// container inspects by name; nil when it does not exist.
func (d docker) container(t testing.TB, name string) *inspected {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var c inspected
	err := d.call(ctx, http.MethodGet, "/containers/"+name+"/json", nil, &c)
	if errors.Is(err, errNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

func (d docker) must(t testing.TB, name string) *inspected {
	t.Helper()
	c := d.container(t, name)
	if c == nil {
		t.Fatalf("container %s does not exist", name)
	}
	return c
}

// running says that a container of that name runs.
func (d docker) running(t testing.TB, name string) bool {
	t.Helper()
	c := d.container(t, name)
	return c != nil && c.State.Status == "running"
}

// snapshot inspects several containers.
func (d docker) snapshot(t testing.TB, names ...string) map[string]*inspected {
	t.Helper()
	all := map[string]*inspected{}
	for _, name := range names {
		all[name] = d.must(t, name)
	}
	return all
}

// untouched fails the test for each container that is not the same process as before.
func (d docker) untouched(t testing.TB, before map[string]*inspected) {
	t.Helper()
	for name, was := range before {
		now := d.container(t, name)
		if now == nil {
			t.Errorf("%s is gone", name)
		} else if !now.same(was) {
			t.Errorf("%s was touched: %.12s started %s, before %.12s started %s", name, now.ID, now.State.StartedAt, was.ID, was.State.StartedAt)
		}
	}
}

// names lists the containers of a project, sorted.
func (d docker) names(t testing.TB, project string) []string {
	t.Helper()
	filter := url.QueryEscape(`{"label":["com.docker.compose.project=` + project + `"]}`)
	var list []struct{ Names []string }
	d.do(t, http.MethodGet, "/containers/json?all=1&filters="+filter, nil, &list)
	var out []string
	for _, c := range list {
		out = append(out, strings.TrimPrefix(c.Names[0], "/"))
	}
	slices.Sort(out)
	return out
}

// countRunning counts the containers of a project that run, as one answer of the engine has it.
func (d docker) countRunning(t testing.TB, project string) int {
	t.Helper()
	filter := url.QueryEscape(`{"label":["com.docker.compose.project=` + project + `"],"status":["running"]}`)
	var list []struct{ ID string }
	d.do(t, http.MethodGet, "/containers/json?filters="+filter, nil, &list)
	return len(list)
}

// exec runs a command in a container and returns its exit code and output.
func (d docker) exec(t testing.TB, name string, command ...string) (int, string) {
	t.Helper()
	code, out, err := d.tryExec(t.Context(), name, command...)
	if err != nil {
		t.Fatal(err)
	}
	return code, out
}

// tryExec is exec in a container that may end meanwhile.
func (d docker) tryExec(ctx context.Context, name string, command ...string) (code int, out string, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var made struct{ ID string }
	body := map[string]any{"Cmd": command, "AttachStdout": true, "AttachStderr": true, "Tty": true}
	if err := d.call(ctx, http.MethodPost, "/containers/"+name+"/exec", body, &made); err != nil {
		return 0, "", err
	}
	var said []byte
	if err := d.call(ctx, http.MethodPost, "/exec/"+made.ID+"/start", map[string]any{"Tty": true}, &said); err != nil {
		return 0, "", err
	}
	var result struct{ ExitCode int }
	err = d.call(ctx, http.MethodGet, "/exec/"+made.ID+"/json", nil, &result)
	return result.ExitCode, strings.TrimSpace(string(said)), err
}

// owner tells who a file in a container belongs to, and its mode.
func (d docker) owner(t testing.TB, name, path string) string {
	t.Helper()
	var out []byte
	d.do(t, http.MethodGet, "/containers/"+name+"/archive?path="+url.QueryEscape(path), nil, &out)
	header, err := tar.NewReader(bytes.NewReader(out)).Next()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d %#o", header.Uid, header.Gid, header.Mode&0o7777)
}

// logs returns what a container said.
func (d docker) logs(t testing.TB, name string) string {
	t.Helper()
	var out []byte
	d.do(t, http.MethodGet, "/containers/"+name+"/logs?stdout=1&stderr=1", nil, &out)
	return string(out)
}

// sweep removes the containers, networks and volumes of a project and of those whose names
// go on after it with a hyphen, and of containers whose own name does. Another test's
// project may go on with a letter: it runs at the same time.
func (d docker) sweep(ctx context.Context, project string) {
	of := func(name string) bool {
		rest, ok := strings.CutPrefix(name, project)
		return ok && (rest == "" || rest[0] == '-' || rest[0] == '_')
	}
	ours := func(name string, labels map[string]string) bool {
		return of(labels["com.docker.compose.project"]) || of(strings.TrimPrefix(name, "/"))
	}
	var containers []struct {
		ID     string `json:"Id"`
		Names  []string
		Labels map[string]string
	}
	_ = d.call(ctx, http.MethodGet, "/containers/json?all=1", nil, &containers)
	for _, c := range containers {
		if ours(strings.Join(c.Names[:min(1, len(c.Names))], ""), c.Labels) {
			_ = d.call(ctx, http.MethodDelete, "/containers/"+c.ID+"?force=1&v=1", nil, nil)
		}
	}
	var networks []struct {
		ID     string `json:"Id"`
		Name   string
		Labels map[string]string
	}
	_ = d.call(ctx, http.MethodGet, "/networks", nil, &networks)
	for _, n := range networks {
		if ours(n.Name, n.Labels) {
			_ = d.call(ctx, http.MethodDelete, "/networks/"+n.ID, nil, nil)
		}
	}
	var volumes struct {
		Volumes []struct {
			Name   string
			Labels map[string]string
		}
	}
	_ = d.call(ctx, http.MethodGet, "/volumes", nil, &volumes)
	for _, v := range volumes.Volumes {
		if ours(v.Name, v.Labels) {
			_ = d.call(ctx, http.MethodDelete, "/volumes/"+v.Name+"?force=1", nil, nil)
		}
	}
}

// sweepAll is sweep with a time limit of its own, for the end of tests.
func (d docker) sweepAll(project string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d.sweep(ctx, project)
}
