package e2e_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/look"
)

func (a *agent) tail() string {
	text := a.log.String()
	return text[max(0, len(text)-6000):]
}

// ask sends a request to the agent's socket and returns status and body.
func (a *agent) ask(method, path string) (int, []byte, error) {
	return a.askFor(30*time.Second, method, path)
}

// askFor does, and waits as long as limit.
func (a *agent) askFor(limit time.Duration, method, path string) (int, []byte, error) {
	client := http.Client{Timeout: limit, Transport: look.Socket(a.socket)}
	req, err := http.NewRequestWithContext(a.t.Context(), method, "http://agent"+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, data, err
}

// get reads a JSON answer of the agent's socket.
func (a *agent) get(path string, out any) error {
	_, data, err := a.ask(http.MethodGet, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, out)
}

func (a *agent) status() api.NodeStatus {
	a.t.Helper()
	var st api.NodeStatus
	if err := a.get("/v1/status", &st); err != nil {
		a.t.Fatal(err)
	}
	return st
}

// await polls the status until ok says so.
func (a *agent) await(what string, limit time.Duration, ok func(api.NodeStatus) bool) api.NodeStatus {
	a.t.Helper()
	var st api.NodeStatus
	err := poll(a.t.Context(), limit, func() bool {
		st = api.NodeStatus{}
		return a.get("/v1/status", &st) == nil && ok(st)
	})
	if err != nil {
		text, _ := json.MarshalIndent(st, "", " ")
		a.t.Fatalf("%s: not within %s\nstatus: %s", what, limit, text)
	}
	return st
}

// converged waits until every stack is.
func (a *agent) converged() api.NodeStatus {
	a.t.Helper()
	st := a.await("converged", 2*time.Minute, allConverged)
	if !st.Ready || !st.Engine.Reachable {
		a.t.Errorf("converged, ready %t, on an engine that answers: %t", st.Ready, st.Engine.Reachable)
	}
	return st
}

func allConverged(st api.NodeStatus) bool {
	for _, s := range st.Stacks {
		if !s.Converged {
			return false
		}
	}
	return len(st.Stacks) > 0
}

// change edits the repository by do and waits for the new revision to be converged.
func (a *agent) change(do func()) api.NodeStatus {
	a.t.Helper()
	before := a.status()
	do()
	return a.await("converged on the change", 2*time.Minute, func(st api.NodeStatus) bool {
		return st.Revision != before.Revision && allConverged(st)
	})
}

// service finds the status of a container.
func service(st api.NodeStatus, name string) api.ServiceStatus {
	for _, s := range st.Stacks {
		for _, svc := range s.Services {
			if svc.Container == name {
				return svc
			}
		}
	}
	return api.ServiceStatus{}
}

// conditions finds the conditions of a reason, of the node and of its stacks.
func conditions(st api.NodeStatus, reason api.Reason) []api.Condition {
	all := append([]api.Condition(nil), st.Conditions...)
	for _, s := range st.Stacks {
		all = append(all, s.Conditions...)
	}
	var found []api.Condition
	for _, c := range all {
		if c.Reason == reason {
			found = append(found, c)
		}
	}
	return found
}

// poll tries cond every 20 ms until it holds, limit is over or ctx ends.
func poll(ctx context.Context, limit time.Duration, cond func() bool) error {
	return look.Until(ctx, limit, 20*time.Millisecond, cond)
}

// eventually ends the test when cond does not come true.
func eventually(t testing.TB, what string, limit time.Duration, cond func() bool) {
	t.Helper()
	if err := poll(t.Context(), limit, cond); err != nil {
		t.Fatalf("%s: not within %s", what, limit)
	}
}

// during fails the test when cond breaks within the time.
func during(t testing.TB, what string, d time.Duration, cond func() bool) {
	t.Helper()
	if poll(t.Context(), d, func() bool { return !cond() }) == nil {
		t.Fatalf("%s: not for %s", what, d)
	}
}

// answers waits until a program serves HTTP: a container runs before its program does.
func (a *agent) answers(service, port string) {
	a.t.Helper()
	eventually(a.t, service+" answers", time.Minute, func() bool {
		code, _, err := a.on.tryExec(a.t.Context(), a.name(service), "curl", "-fs", "http://localhost:"+port+"/")
		return err == nil && code == 0
	})
}
