package hub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/store"
)

const (
	// keepAnyway is how old a kept status gets although nothing but times changed.
	keepAnyway = 30 * time.Second
	// lastWords is how long the end of a session may take to be kept.
	lastWords = 3 * time.Second
)

// kept is what a store.Status holds: one line of JSON, then the status in the contract's form,
// packed to Size bytes; with 0 it is not packed.
type kept struct {
	Version, Commit, Platform string
	Digest, Revision          string
	Refused                   *rollout.Refusal `json:",omitempty"`
	StatusDigest              string
	StatusAt                  time.Time
	Size                      int `json:",omitempty"`
}

func encodeNode(n Node) ([]byte, error) {
	k := kept{
		Version: n.Version, Commit: n.Commit, Platform: n.Platform, Digest: n.Digest, Revision: n.Revision,
		Refused: n.Refused, StatusDigest: n.StatusDigest, StatusAt: n.StatusAt,
	}
	var body []byte
	if n.Status != nil {
		k.Size, body = n.Status.size, n.Status.packed
	}
	head, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	return slices.Concat(head, []byte{'\n'}, body), nil
}

func decodeNode(data []byte, n *Node) error {
	head, body, ok := bytes.Cut(data, []byte{'\n'})
	var k kept
	if err := json.Unmarshal(head, &k); err != nil || !ok {
		return fmt.Errorf("read kept status of node %s: %w", n.Name, errors.Join(err, errors.New("its first line is no JSON")))
	}
	var status *Status
	var err error
	if !k.StatusAt.IsZero() {
		if status, err = unpack(body, k.Size); err != nil {
			return fmt.Errorf("read kept status of node %s: %w", n.Name, err)
		}
	}
	n.Version, n.Commit, n.Platform, n.Digest, n.Revision = k.Version, k.Commit, k.Platform, k.Digest, k.Revision
	n.Refused, n.StatusDigest, n.StatusAt = k.Refused, k.StatusDigest, k.StatusAt
	n.Status = status
	return nil
}

// gist tells nodes apart that differ in more than what changes all the time.
func gist(n Node) [sha256.Size]byte {
	var said []byte
	if n.Status != nil {
		said = n.Status.gist[:]
	}
	refused := ""
	if n.Refused != nil {
		refused = n.Refused.Digest
	}
	return sha256.Sum256(fmt.Appendf(nil, "%x|%s|%s|%s|%s", said, n.Digest, n.StatusDigest, refused, n.Version))
}

// keepers bounds how many sessions write at the same time.
const keepers = 32

// keeping is what a session remembers of its writes.
type keeping struct {
	mu        sync.Mutex // held while it is written, which may take long
	connected bool
	last      [sha256.Size]byte

	at  atomic.Pointer[time.Time] // of the last write
	due atomic.Bool               // a write is on its way
}

// since the last write; long, when there was none.
func (k *keeping) since() time.Duration {
	if at := k.at.Load(); at != nil {
		return time.Since(*at)
	}
	return keepAnyway
}

// changed has the newest state written soon. While etcd is away nothing is lost: it is
// written when it is back. Writers are few and come and go: a session that is idle has none.
func (s *session) changed() {
	if s.ctx.Err() == nil && s.keeping.due.CompareAndSwap(false, true) {
		s.hub.streams.Add(1)
		time.AfterFunc(max(0, s.hub.cfg.KeepInterval-s.keeping.since()), s.keep)
	}
}

// keep writes where the node is and what it said last.
func (s *session) keep() {
	defer s.hub.streams.Done()
	select {
	case <-s.ctx.Done():
		return
	case s.hub.keepers <- struct{}{}:
		defer func() { <-s.hub.keepers }()
	}
	s.keeping.mu.Lock()
	defer s.keeping.mu.Unlock()
	s.keeping.due.Store(false)
	if !s.keeping.connected {
		s.keeping.connected = true // the store makes up for what failed
		connection := store.Connection{Node: s.node, Since: s.since, Address: s.address}
		if err := s.hub.cfg.Memory.Connect(s.ctx, connection); err != nil && s.ctx.Err() == nil {
			s.log.WarnContext(s.ctx, "connection is not registered yet", "err", err)
		}
	}
	n, _ := s.hub.board.get(s.node)
	now := gist(n)
	if now == s.keeping.last && s.keeping.since() < keepAnyway {
		return
	}
	stored, at := s.put(s.ctx, n), time.Now()
	s.keeping.at.Store(&at)
	if stored {
		s.keeping.last = now
	} else {
		s.changed()
	}
}

func (s *session) put(ctx context.Context, n Node) bool {
	data, err := encodeNode(n)
	if err == nil {
		err = s.hub.cfg.Memory.PutStatus(ctx, store.Status{Node: s.node, At: n.Seen, Data: data})
	}
	if err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "status is not kept", "err", err)
	}
	return err == nil
}

// forget keeps what the node said last, and that it is gone.
func (s *session) forget() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), lastWords)
	defer cancel()
	s.keeping.mu.Lock() // a write under way ends first
	defer s.keeping.mu.Unlock()
	if errors.Is(context.Cause(s.ctx), errReplaced) || errors.Is(context.Cause(s.ctx), errRemoved) {
		return // the one who took its place writes
	}
	if n, ok := s.hub.board.get(s.node); ok {
		s.put(ctx, n)
	}
	if err := s.hub.cfg.Memory.Disconnect(ctx, s.node, s.since); err != nil {
		s.log.WarnContext(ctx, "connection is not unregistered; it ends with this controller's session", "err", err)
	}
}
