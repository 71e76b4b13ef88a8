package web_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/controller/web"
	"ktrdr.io/fleet/pkg/desired"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// many is a fleet of nodes that all run the service web.
type many struct {
	*web.Targets
	dir   string
	nodes []hub.Node
	loads atomic.Int64
	// before is called before each load with its number.
	before func(number int64) error
}

func newMany(t testing.TB, count int) *many {
	t.Helper()
	dir := state(t)
	status, err := hub.Pack(&ktrdrv1.NodeStatus{Stacks: []*ktrdrv1.StackStatus{{Name: "core", Services: []*ktrdrv1.ServiceStatus{
		{Service: "web", Container: "web", State: "running"},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	m := &many{dir: string(dir), before: func(int64) error { return nil }}
	for i := range count {
		name := fmt.Sprintf("n%d", i)
		if err := m.write(name, name+".example"); err != nil {
			t.Fatal(err)
		}
		m.nodes = append(m.nodes, hub.Node{Name: name, Digest: "d", StatusDigest: "d", Revision: "r", Status: status})
	}
	shelf := slicing.NewShelf(dir)
	t.Cleanup(func() { _ = shelf.Close() })
	m.Targets = &web.Targets{
		Nodes: func() []hub.Node { return m.nodes }, Shelf: shelf, Log: slog.New(slog.DiscardHandler),
		Load: func(ctx context.Context, req desired.Request) (*api.Desired, []desired.Problem, error) {
			if err := m.before(m.loads.Add(1)); err != nil {
				return nil, nil, err
			}
			return desired.Load(ctx, req)
		},
	}
	return m
}

// write writes the file of a node.
func (m *many) write(name, hostname string) error {
	text := "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: " + name + "}\nspec: {hostname: " + hostname + ", stacks: [{name: core}]}\n"
	return os.WriteFile(filepath.Join(m.dir, "nodes", name+".yaml"), []byte(text), 0o600)
}

// scrape answers how many targets there are below .example; -1 for a failure.
func (m *many) scrape(t testing.TB) int {
	t.Helper()
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/sd/prometheus", nil))
	if w.Code != http.StatusOK {
		return -1
	}
	return strings.Count(w.Body.String(), ".example:8080")
}

// want checks targets of a scrape, and the loads that it made.
func (m *many) want(t *testing.T, what string, targets int, loads int64) {
	t.Helper()
	before := m.loads.Load()
	if got := m.scrape(t); got != targets {
		t.Errorf("%s: %d targets, want %d", what, got, targets)
	}
	if got := m.loads.Load() - before; got != loads {
		t.Errorf("%s: %d loads, want %d", what, got, loads)
	}
}

// TestTargetsLoadOnce: each node is loaded once for what it has accepted, and what all nodes
// share is read once.
func TestTargetsLoadOnce(t *testing.T) {
	const count = 100
	m := newMany(t, count)
	m.before = func(number int64) error {
		if number > 1 {
			return nil
		}
		return m.write("n99", "read-again.elsewhere") // who reads the files of all nodes again would see it
	}
	m.want(t, "the first scrape", count, count)
	m.want(t, "the second scrape", count, 0)
	m.nodes[7].Digest, m.nodes[7].StatusDigest = "e", "e"
	m.want(t, "one has another slice", count, 1)
	m.nodes[8].Revision = "r2"
	m.want(t, "the same slice of another revision", count, 0)
	gone := m.nodes[50:]
	m.nodes = m.nodes[:50]
	m.want(t, "half of them are gone", 50, 0)
	m.nodes = append(m.nodes, gone...)
	m.want(t, "they are back", count, 50)
	m.nodes[3].Digest, m.nodes[3].StatusDigest = "f", "f"
	m.before = func(int64) error { return errors.New("disk") }
	m.want(t, "one can't be loaded", -1, 1)
	m.before = func(int64) error { return nil }
	m.want(t, "it can again", count, 1)
}

// TestTargetsTogether: scrapes at the same time share their loads, and none waits for a load
// that it does not need.
func TestTargetsTogether(t *testing.T) {
	m := newMany(t, 10)
	first := m.nodes[:1]
	seen := atomic.Pointer[[]hub.Node]{}
	asked := make(chan struct{}, 100)
	m.Nodes = func() []hub.Node {
		nodes := *seen.Load()
		asked <- struct{}{}
		return nodes
	}
	seen.Store(&first)
	m.want(t, "the first node", 1, 1)
	<-asked

	entered, leave := make(chan struct{}), make(chan struct{})
	m.before = func(number int64) error {
		if number == 2 {
			close(entered)
			<-leave
		}
		return nil
	}
	seen.Store(&m.nodes)
	var scrapes sync.WaitGroup
	got := make([]int, 8)
	for i := range got {
		scrapes.Go(func() { got[i] = m.scrape(t) })
	}
	<-entered
	for range got {
		<-asked
	}
	two := m.nodes[:2] // the second one is being loaded
	seen.Store(&two)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/sd/prometheus", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("who went away is answered %d", w.Code)
	}
	seen.Store(&first)
	m.want(t, "while another node is loaded", 1, 0)
	close(leave)
	scrapes.Wait()
	for i, n := range got {
		if n != 10 {
			t.Errorf("scrape %d has %d targets", i, n)
		}
	}
	if n := m.loads.Load(); n != 10 {
		t.Errorf("%d loads for 10 nodes", n)
	}
}
