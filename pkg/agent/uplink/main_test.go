package uplink_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/uplink"
	"ktrdr.io/fleet/pkg/agent/uplink/uplinktest"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// node is an agent with nothing but its link: a follower that accepts every tree without
// a file called "bad", and what it tells about itself.
type node struct {
	link   *uplink.Link
	source *source.Stream
	stop   func()

	mu       sync.Mutex
	status   api.NodeStatus
	events   []api.Event
	changed  chan struct{}
	held     map[string]*api.Hold
	synced   int
	planned  map[string]string
	lines    []uplink.LogLine
	live     chan uplink.LogLine
	accepted []source.Tree
	// accepting is called before the link is told of a tree whose revision the status has.
	accepting func()
	// wrap takes a number that never was for 0, as the agent's log of events does.
	wrap bool
}

// secretText is what the redactor of a node takes out.
const secretText = "Tr0ub4dor&3-horse"

func redact(text string) string { return strings.ReplaceAll(text, secretText, "[redacted]") }

type options struct {
	cacheDir  string
	endpoints []string
	timing    uplink.Timing
	doctor    uplink.Doctor
	accepting func()
	dial      uplink.Dialer
}

func fast() uplink.Timing {
	return uplink.Timing{RetryFirst: 20 * time.Millisecond, RetryLast: 200 * time.Millisecond}
}

// run starts a node that stops when the test ends.
func run(t *testing.T, c *uplinktest.Controller, o options) *node {
	t.Helper()
	if o.cacheDir == "" {
		o.cacheDir = t.TempDir()
	}
	if o.endpoints == nil {
		o.endpoints = []string{c.Addr}
	}
	if o.dial == nil {
		o.dial = dialer(c.Enroll(t, filepath.Join(t.TempDir(), "keys"), "b"))
	}
	if o.timing == (uplink.Timing{}) {
		o.timing = fast()
	}
	src, err := source.NewStream(source.StreamConfig{CacheDir: o.cacheDir, Settle: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{
		source: src, accepting: o.accepting, changed: make(chan struct{}), held: map[string]*api.Hold{}, planned: map[string]string{}, live: make(chan uplink.LogLine),
		status: api.NodeStatus{Node: "b", Version: "test", Stacks: []api.StackStatus{{Name: "core"}}},
	}
	n.link, err = uplink.New(uplink.Config{
		Endpoints: o.endpoints, Dial: o.dial, Source: src, Report: n, Backend: n, Logs: n, Doctor: o.doctor, Redact: redact, Timing: o.timing,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = n.link.Run(ctx) })
	wg.Go(func() { n.follow(ctx) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		_ = src.Close()
	})
	t.Cleanup(n.stop)
	return n
}

func (n *node) follow(ctx context.Context) {
	for {
		tree, err := n.source.Fetch(ctx, "")
		switch {
		case err != nil:
		case exists(filepath.Join(tree.Dir, "bad")):
			n.link.Refused(tree.Revision, api.ReasonInvalid, "the file bad says "+secretText)
		default:
			n.mu.Lock()
			n.accepted = append(n.accepted, tree)
			n.mu.Unlock()
			if n.Status().Revision != tree.Revision.ID {
				n.change(func() { n.status.Revision = tree.Revision.ID })
			}
			if n.accepting != nil {
				n.accepting()
			}
			n.link.Accepted(tree.Revision)
		}
		select {
		case <-ctx.Done():
			return
		case <-n.source.Changes():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// change changes what the node tells.
func (n *node) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *node) event(message string) uint64 {
	var seq uint64
	n.change(func() {
		seq = uint64(len(n.events) + 1)
		n.events = append(n.events, api.Event{Seq: seq, Time: time.Unix(1, 0), Level: "info", Reason: api.ReasonConverged, Message: message})
	})
	return seq
}

func (n *node) Status() api.NodeStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	st := n.status
	st.Time = time.Now()
	st.Stacks, st.Conditions = slices.Clone(st.Stacks), slices.Clone(st.Conditions)
	return st
}

func (n *node) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

func (n *node) News() <-chan struct{} { return n.Changed() }

func (n *node) Events(after uint64, limit int) []api.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wrap && after > uint64(len(n.events)) {
		after = 0
	}
	var list []api.Event
	for _, e := range n.events {
		if e.Seq > after && len(list) < limit {
			list = append(list, e)
		}
	}
	return list
}

func (n *node) Sync(context.Context) error {
	n.change(func() { n.synced++ })
	return nil
}

func (n *node) Hold(stack string, h *api.Hold) error {
	n.change(func() { n.held[stack] = h })
	return nil
}

// PlanTree remembers the files, and finds mistakes in a tree with a file called "bad".
func (n *node) PlanTree(_ context.Context, dir string) ([]*plan.Plan, error) {
	if exists(filepath.Join(dir, "bad")) {
		return nil, &desired.Error{Problems: []desired.Problem{{File: "bad", Line: 3, Column: 7, Message: "is bad: " + secretText}}}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	n.change(func() {
		for _, e := range entries {
			data, _ := os.ReadFile(filepath.Join(dir, e.Name())) //nolint:gosec // the test's own folder
			n.planned[e.Name()] = string(data)
		}
	})
	return n.Plans(), nil
}

func (n *node) Plans() []*plan.Plan {
	return []*plan.Plan{{Stack: "core", Ops: []plan.Op{{
		Key: "k", Kind: plan.Create, Object: "db", Cause: "because of " + secretText,
		Diff: []plan.FieldDiff{{Path: "environment.PASSWORD", Have: secretText, Want: "x" + secretText}},
	}}}}
}

func (n *node) Secrets() api.SecretsStatus {
	return api.SecretsStatus{Node: "b", Secrets: []api.SecretStatus{{Reference: "op://v/i/f", Phase: api.SecretFresh, Message: "not " + secretText}}}
}

// Stream tells n.lines, and when it follows what comes in n.live.
func (n *node) Stream(ctx context.Context, q uplink.LogQuery, emit func(uplink.LogLine)) error {
	n.mu.Lock()
	lines := slices.Clone(n.lines)
	n.mu.Unlock()
	if q.Stack == "broken" {
		return errors.New("the engine says " + secretText)
	}
	for _, line := range lines {
		emit(line)
	}
	for q.Follow {
		select {
		case <-ctx.Done():
			return nil
		case line := <-n.live:
			emit(line)
		}
	}
	return nil
}

func (n *node) accepts() []source.Tree {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.accepted)
}

// await waits until cond is true.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(uplinktest.Patience); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for: %s", uplinktest.Patience, what)
		}
	}
}

func wantFile(t *testing.T, dir, name, want string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name)) //nolint:gosec // the test's own folder
	if err != nil || string(data) != want {
		t.Errorf("%s is %q (%v), want %q", name, data, err, want)
	}
}

// big is a content of several parts.
func big(seed string) string { return strings.Repeat(fmt.Sprintf("%s of several parts\n", seed), 200) }
