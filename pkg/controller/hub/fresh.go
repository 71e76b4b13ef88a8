package hub

import (
	"context"
	"time"
)

// freshRetry is the pause before the store is asked again.
const freshRetry = time.Second

// saw notes how far the watch of rollouts has come.
func (h *Hub) saw(revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if revision > h.seen {
		h.seen = revision
		close(h.saws)
		h.saws = make(chan struct{})
	}
}

// freshen lets a session send slices once this hub knows all that any hub knew when the node
// connected. The node may come from another controller, which gave it a slice that the watch
// here has not told of yet: what is known here would take it back.
func (s *session) freshen() {
	for !s.fresh() {
		s.pause(freshRetry)
		if s.ctx.Err() != nil {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = true
	s.ring()
}

// fresh asks the store how old the newest rollout is and waits until the hub has seen it.
func (s *session) fresh() bool {
	h := s.hub
	if h.cfg.Newest == nil {
		return true
	}
	newest, err := h.cfg.Newest(s.ctx)
	if err != nil {
		if s.ctx.Err() == nil {
			s.log.WarnContext(s.ctx, "slices wait for the store", "err", err)
		}
		return false
	}
	return h.reach(s.ctx, newest)
}

// reach waits until the watch of rollouts has come to a revision.
func (h *Hub) reach(ctx context.Context, revision int64) bool {
	for {
		h.mu.Lock()
		seen, more := h.seen, h.saws
		h.mu.Unlock()
		if seen >= revision {
			return true
		}
		select {
		case <-more:
		case <-ctx.Done():
			return false
		}
	}
}
