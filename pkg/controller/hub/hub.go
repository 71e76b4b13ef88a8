package hub

import (
	"context"
	"errors"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/store"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Hub holds the sessions of the nodes that are connected to this controller, and knows of
// all others. Safe for concurrent use.
type Hub struct {
	ktrdrv1.UnimplementedAgentServiceServer

	cfg     Config
	started time.Time
	board   *board
	events  *journal
	// whole since the watches of Watch have given everything once.
	whole *store.Whole
	// streams are goroutines that end with their stream.
	streams sync.WaitGroup
	// keepers has a place for each session that writes at the moment.
	keepers chan struct{}

	mu       sync.Mutex
	sessions map[string]*session
	targets  map[string]rollout.Target
	rollout  int64
	// absent says of nodes without a target why they have none; nil before the first rollout.
	absent func(node string) *ktrdrv1.NoSlice
	closed bool
	// seen is the store's revision up to which rollouts are known; saws is closed when it grows.
	seen int64
	saws chan struct{}
}

// New makes a hub. Run has to run for it to know what nodes are to have.
func New(cfg Config) (*Hub, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Hub{
		cfg: cfg, started: time.Now(), board: newBoard(), events: newJournal(), whole: store.NewWhole(4), keepers: make(chan struct{}, keepers),
		sessions: map[string]*session{}, targets: map[string]rollout.Target{}, saws: make(chan struct{}),
	}, nil
}

var (
	errReplaced = errors.New("the node connected anew")
	errRemoved  = errors.New("the node was removed from the fleet")
	errClosing  = errors.New("the controller stops")
)

// Node returns what is known of a node.
func (h *Hub) Node(name string) (Node, bool) { return h.board.get(name) }

// News returns the nodes that changed after seq, all with 0, and how to wait for more.
func (h *Hub) News(seq uint64) News { return h.board.since(seq) }

// Whole is closed when Watch has taken over all that the store had: until then nodes are missing.
func (h *Hub) Whole() <-chan struct{} { return h.whole.Done() }

// Started is since when the hub looks: nodes that were not seen may have been away since.
func (h *Hub) Started() time.Time { return h.started }

// enter makes a session the node's only one.
func (h *Hub) enter(s *session) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return errClosing
	}
	old := h.sessions[s.node]
	h.sessions[s.node] = s
	s.aim(h.targets[s.node], h.rollout)
	s.miss(h.absent)
	h.mu.Unlock()
	if old != nil {
		old.end(errReplaced)
	}
	h.update(s, func(n *Node) {
		n.Connected, n.Controller, n.Since, n.Seen, n.Address = true, h.cfg.Controller, s.since, s.since, s.address
		n.Version, n.Commit, n.Platform = s.hello.GetVersion(), s.hello.GetCommit(), s.hello.GetPlatform()
		n.Digest, n.Revision = s.hello.GetSliceDigest(), s.hello.GetRevision()
	})
	return nil
}

// leave forgets a session, unless another one has taken its place.
func (h *Hub) leave(s *session) bool {
	h.mu.Lock()
	current := h.sessions[s.node] == s
	if current {
		delete(h.sessions, s.node)
	}
	h.mu.Unlock()
	if current {
		h.board.update(s.node, func(n *Node) { n.Connected, n.Controller, n.Seen = false, "", time.Now() })
	}
	return current
}

// update changes what is known of a session's node, if the session is still the node's.
func (h *Hub) update(s *session, change func(*Node)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions[s.node] == s {
		h.board.update(s.node, change)
	}
}

func (h *Hub) session(node string) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[node]
}

// SetTargets says what each node is to have, by the rollout with that number. Sessions send
// what their node lacks.
func (h *Hub) SetTargets(number int64, targets map[string]rollout.Target) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.targets, h.rollout = targets, number
	for node, s := range h.sessions {
		s.aim(targets[node], number)
	}
}

// Target returns what a node is to have.
func (h *Hub) Target(node string) rollout.Target {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.targets[node]
}

// Close ends all sessions and refuses new ones, so that agents connect elsewhere, or again
// once the controller is back. The caller stops the gRPC server after that, and then Wait
// returns.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, s := range h.sessions {
		s.end(errClosing)
	}
}

// Wait returns when no session has a goroutine left, or ctx ends.
func (h *Hub) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		h.streams.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
