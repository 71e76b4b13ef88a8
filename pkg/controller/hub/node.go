package hub

import (
	"slices"
	"strings"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/store"
)

// Node is what is known of a node, wherever it is connected.
type Node struct {
	Name string
	// Joined is the record of its certificate; nil when it never joined or was removed.
	Joined *store.Node
	// Connected to a controller; Controller says which.
	Connected  bool
	Controller string
	// Since is when it connected, Seen when it was heard of last.
	Since, Seen time.Time
	Address     string
	// Version, Commit and Platform of the agent.
	Version, Commit, Platform string
	// Digest and Revision of the slice that it has accepted.
	Digest, Revision string
	Refused          *rollout.Refusal
	// Status is the newest, about the slice StatusDigest, arrived StatusAt; nil before.
	Status       *Status
	StatusDigest string
	StatusAt     time.Time
	// Seq grows with every change of any node.
	Seq uint64
}

// board is all nodes, and who waits for a change.
type board struct {
	mu      sync.Mutex
	nodes   map[string]*Node
	gone    map[string]uint64
	seq     uint64
	changed chan struct{}
}

func newBoard() *board {
	return &board{nodes: map[string]*Node{}, gone: map[string]uint64{}, changed: make(chan struct{})}
}

// update changes a node, which is made if it is new. What is not connected, has not joined
// and has no status is nothing to know.
func (b *board) update(name string, change func(*Node)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := Node{Name: name}
	if old, ok := b.nodes[name]; ok {
		n = *old
	}
	change(&n)
	b.seq++
	n.Seq = b.seq
	if n.Joined == nil && !n.Connected && n.Status == nil {
		delete(b.nodes, name)
		b.gone[name] = b.seq
	} else {
		b.nodes[name] = &n
		delete(b.gone, name)
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

// get returns a node.
func (b *board) get(name string) (Node, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n, ok := b.nodes[name]; ok {
		return *n, true
	}
	return Node{Name: name}, false
}

// bell is closed at the next change.
func (b *board) bell() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// News are the nodes that changed.
type News struct {
	// Nodes sorted by name; Gone are forgotten ones.
	Nodes []Node
	Gone  []string
	// Seq is where to go on from.
	Seq uint64
	// Changed is closed at the next change.
	Changed <-chan struct{}
}

// since returns what changed after seq; all with 0.
func (b *board) since(seq uint64) News {
	b.mu.Lock()
	defer b.mu.Unlock()
	news := News{Seq: b.seq, Changed: b.changed}
	if b.seq == seq {
		return news
	}
	for _, n := range b.nodes {
		if n.Seq > seq {
			news.Nodes = append(news.Nodes, *n)
		}
	}
	for name, at := range b.gone {
		if at > seq {
			news.Gone = append(news.Gone, name)
		}
	}
	slices.SortFunc(news.Nodes, func(x, y Node) int { return strings.Compare(x.Name, y.Name) })
	slices.Sort(news.Gone)
	return news
}
