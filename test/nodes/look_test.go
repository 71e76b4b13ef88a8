package nodes_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/look"
)

// container is what the tests look at.
type container struct {
	ID    string `json:"Id"`
	Name  string
	State struct {
		Running               bool
		Pid                   int
		ExitCode              int
		StartedAt, FinishedAt time.Time
	}
}

// get reads a JSON answer from a Unix socket.
func get(socket, path string, out any) error {
	ctx, cancel := contextFor(limit)
	defer cancel()
	return ask(ctx, socket, path, out)
}

func ask(ctx context.Context, socket, path string, out any) error {
	return look.JSON(ctx, look.Socket(socket), "http://node"+path, out)
}

// containers are all of the machine but the agent's own, by their service's name. Two of one name end the test.
func (n *node) containers() map[string]container {
	n.t.Helper()
	var listed []struct {
		ID string `json:"Id"`
	}
	if err := get(n.Socket(), "/containers/json?all=1", &listed); err != nil {
		n.t.Fatal(err)
	}
	all := map[string]container{}
	for _, l := range listed {
		var c container
		if err := get(n.Socket(), "/containers/"+l.ID+"/json", &c); err != nil {
			if strings.Contains(err.Error(), "No such container") {
				continue // removed meanwhile
			}
			n.t.Fatal(err)
		}
		if c.Name == "/ktrdr-agent" {
			continue
		}
		service := strings.TrimSuffix(strings.TrimPrefix(c.Name, "/app-"), "-1")
		if _, twice := all[service]; twice || strings.Contains(service, "/") {
			n.t.Fatalf("a duplicate or a container that nobody wants: %s", c.Name)
		}
		all[service] = c
	}
	return all
}

// untouched fails the test for each container that is not the same process as before.
func (n *node) untouched(before map[string]container) {
	n.t.Helper()
	now := n.containers()
	for service, was := range before {
		if is := now[service]; is.ID != was.ID || is.State.StartedAt != was.State.StartedAt {
			n.t.Errorf("%s was touched: %.12s started %s, before %.12s started %s", service, is.ID, is.State.StartedAt, was.ID, was.State.StartedAt)
		}
	}
}

func (n *node) status() (st api.NodeStatus, err error) {
	err = get(n.Path("/run/ktrdr/agent.sock"), "/v1/status", &st)
	return st, err
}

// await polls the agent's status until ok says so.
func (n *node) await(what string, ok func(api.NodeStatus) bool) api.NodeStatus {
	n.t.Helper()
	var st api.NodeStatus
	if !poll(n.t, func() bool {
		got, err := n.status()
		st = got
		return err == nil && ok(got)
	}) {
		text, _ := json.MarshalIndent(st, "", " ")
		n.t.Fatalf("%s: not within %s\nstatus: %s", what, limit, text)
	}
	return st
}

func converged(st api.NodeStatus) bool {
	for _, s := range st.Stacks {
		if !s.Converged {
			return false
		}
	}
	return len(st.Stacks) > 0 && st.Engine.Reachable
}

// reached waits until a commit is converged.
func (n *node) reached(commit string) api.NodeStatus {
	n.t.Helper()
	return n.await("converged on "+commit[:7], func(st api.NodeStatus) bool { return st.Revision == commit && converged(st) })
}

// service finds the status of a service.
func service(st api.NodeStatus, name string) api.ServiceStatus {
	for _, s := range st.Stacks {
		for _, svc := range s.Services {
			if svc.Service == name {
				return svc
			}
		}
	}
	return api.ServiceStatus{}
}

// poll tries cond every 50 ms; false means that the limit is over.
func poll(t *testing.T, cond func() bool) bool {
	t.Helper()
	return look.Until(t.Context(), limit, 50*time.Millisecond, cond) == nil
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	if !poll(t, cond) {
		t.Fatalf("%s: not within %s", what, limit)
	}
}
