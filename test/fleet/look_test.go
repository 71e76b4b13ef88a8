package fleet_test

import (
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/look"
)

// container is what the tests look at.
type container struct {
	ID     string `json:"Id"`
	Name   string
	Config struct {
		Image string
		Env   []string
	}
	State struct {
		Running   bool
		Pid       int
		StartedAt time.Time
	}
}

// overSocket reads a JSON answer from a Unix socket.
func overSocket(socket, path string, out any) error {
	return get(look.Socket(socket), "http://node"+path, out)
}

// overNetwork reads a JSON answer from a machine, by its name.
func overNetwork(url string, out any) error {
	return get(&http.Transport{DisableKeepAlives: true, DialContext: world.network.DialContext}, url, out)
}

func get(by http.RoundTripper, url string, out any) error {
	ctx, cancel := contextFor(limit)
	defer cancel()
	return look.JSON(ctx, by, url, out)
}

// containers are all of a node by name.
func (n *node) containers() (map[string]container, error) {
	var listed []struct {
		ID string `json:"Id"`
	}
	if err := overSocket(n.Socket(), "/containers/json?all=1", &listed); err != nil {
		return nil, err
	}
	all := map[string]container{}
	for _, l := range listed {
		var c container
		if err := overSocket(n.Socket(), "/containers/"+l.ID+"/json", &c); err != nil {
			return nil, err
		}
		all[strings.TrimPrefix(c.Name, "/")] = c
	}
	return all, nil
}

// running are all containers of some nodes that run, of all without a name, as node/name.
func (f *fleet) running(t *testing.T, nodes ...string) map[string]container {
	t.Helper()
	all := map[string]container{}
	for name, n := range f.nodes {
		if len(nodes) > 0 && !slices.Contains(nodes, name) {
			continue
		}
		found, err := n.containers()
		if err != nil {
			t.Fatal(err)
		}
		for c := range found {
			if found[c].State.Running {
				all[name+"/"+c] = found[c]
			}
		}
	}
	return all
}

// untouched fails the test for each container that is not the same process as before.
func (f *fleet) untouched(t *testing.T, what string, before map[string]container, nodes ...string) {
	t.Helper()
	now := f.running(t, nodes...)
	for name, was := range before {
		if is, runs := now[name]; !runs || is.ID != was.ID || !is.State.StartedAt.Equal(was.State.StartedAt) {
			t.Errorf("%s: %s was touched: %.12s started %s, before %.12s started %s", what, name, is.ID, is.State.StartedAt, was.ID, was.State.StartedAt)
		}
	}
	t.Logf("%s: %d containers keep id and start", what, len(before))
}

// tag is the image tag of a running container; empty when it does not run.
func (n *node) tag(name string) string {
	all, err := n.containers()
	if err != nil || !all[name].State.Running {
		return ""
	}
	_, tag, _ := strings.Cut(all[name].Config.Image, ":")
	return tag
}

// status is what the agent tells of itself.
func (n *node) status() (st api.NodeStatus, err error) {
	err = overSocket(n.Path("/run/ktrdr/agent.sock"), "/v1/status", &st)
	return st, err
}

// converged tells whether the agent says so, of a state in which a text of its file stands.
func (n *node) converged() bool {
	st, err := n.status()
	if err != nil || len(st.Stacks) == 0 || !st.Engine.Reachable {
		return false
	}
	return !slices.ContainsFunc(st.Stacks, func(s api.StackStatus) bool { return !s.Converged })
}

// foreign lists files of other nodes, or of stacks that others alone have, in what the agent
// has got from the controller; known counts its own.
func (n *node) foreign(stack string) (foreign []string, known int) {
	root := n.Path("/var/lib/ktrdr/source/controller")
	_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // the agent tidies up meanwhile
		}
		own := ""
		dir, name := filepath.Split(path)
		switch filepath.Base(dir) {
		case "nodes":
			own = n.name + ".yaml"
		case "stacks":
			own = stack
		default:
			return nil
		}
		if name == own {
			known++
		} else {
			foreign = append(foreign, strings.TrimPrefix(path, root))
		}
		return nil
	})
	return foreign, known
}

// worker is one of the backend's list.
type worker struct {
	ID     string `json:"worker_id"`
	URL    string `json:"endpoint_url"`
	Type   string `json:"worker_type"`
	Status string `json:"status"`
}

// workers are those that the backend knows, sorted by id.
func workers() ([]worker, error) {
	var all []worker
	err := overNetwork("http://backend.lab:8000/api/v1/workers", &all)
	slices.SortFunc(all, func(a, b worker) int { return strings.Compare(a.ID, b.ID) })
	return all, err
}
