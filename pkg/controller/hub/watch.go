package hub

import (
	"context"
	"encoding/json"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/store"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Watch keeps what the hub knows current with the store until ctx ends: rollouts, nodes that
// joined, and nodes at other controllers.
func (h *Hub) Watch(ctx context.Context, s *store.Store) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { h.watchRollouts(ctx, s); return nil })
	g.Go(func() error { h.watchNodes(ctx, s); return nil })
	g.Go(func() error { h.watchConnections(ctx, s); return nil })
	g.Go(func() error { h.watchStatuses(ctx, s); return nil })
	return g.Wait()
}

// watchRollouts takes the targets from the rollout with the highest number.
func (h *Hub) watchRollouts(ctx context.Context, s *store.Store) {
	var newest int64
	synced := h.whole.Part()
	for change := range s.WatchRollouts(ctx, 0) {
		if change.What == store.Put && change.Value.Number >= newest {
			newest = change.Value.Number
			h.take(ctx, change.Value)
		}
		if change.What != store.Resync { // which comes before what it is about
			h.saw(change.Revision)
		}
		if change.What == store.Synced {
			synced()
		}
	}
}

func (h *Hub) take(ctx context.Context, newest store.Rollout) {
	var record rollout.Record
	if err := json.Unmarshal(newest.Data, &record); err != nil {
		h.cfg.Log.ErrorContext(ctx, "rollout can't be read", "number", newest.Number, "err", err)
		return
	}
	h.SetTargets(newest.Number, record.Targets)
	h.setAbsent(func(node string) *ktrdrv1.NoSlice { return absence(&record, node) })
}

// watchNodes ends the stream of a node that was removed.
func (h *Hub) watchNodes(ctx context.Context, s *store.Store) {
	known, synced := listed{}, h.whole.Part()
	for change := range s.Nodes().Watch(ctx, 0) {
		for _, name := range known.gone(change.What, change.Key) {
			h.board.update(name, func(n *Node) { n.Joined, n.Status = nil, nil })
			h.events.forget(name)
			if session := h.session(name); session != nil {
				session.end(errRemoved)
			}
		}
		if change.What == store.Put {
			node := change.Value
			h.board.update(node.Name, func(n *Node) { n.Joined = &node })
		}
		if change.What == store.Synced {
			synced()
		}
	}
}

// watchConnections tells of nodes at other controllers.
func (h *Hub) watchConnections(ctx context.Context, s *store.Store) {
	known, synced := listed{}, h.whole.Part()
	for change := range s.Connections().Watch(ctx, 0) {
		for _, name := range known.gone(change.What, change.Key) {
			h.remote(name, func(n *Node) { n.Connected, n.Controller = false, "" })
		}
		if change.What == store.Synced {
			synced()
		}
		if c := change.Value; change.What == store.Put {
			if c.Controller == h.cfg.Controller {
				continue
			}
			h.board.update(c.Node, func(n *Node) {
				n.Connected, n.Controller, n.Since, n.Address = true, c.Controller, c.Since, c.Address
			})
			if session := h.session(c.Node); session != nil && session.since.Before(c.Since) {
				session.end(errReplaced)
			}
		}
	}
}

// watchStatuses takes over what nodes at other controllers said, and at the start what those
// of this one said before.
func (h *Hub) watchStatuses(ctx context.Context, s *store.Store) {
	synced := h.whole.Part()
	for change := range s.Statuses().Watch(ctx, 0) {
		if change.What == store.Synced {
			synced()
		}
		if change.What != store.Put {
			continue
		}
		status := change.Value
		h.remote(status.Node, func(n *Node) {
			next := *n
			if err := decodeNode(status.Data, &next); err != nil {
				h.cfg.Log.WarnContext(ctx, "kept status is left out", "err", err)
				return
			}
			*n = next
			n.Seen = status.At
		})
	}
}

// remote changes what is known of a node without a session here: a session knows better.
func (h *Hub) remote(name string, change func(*Node)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions[name] == nil {
		h.board.update(name, change)
	}
}

// listed finds out what is gone, also while a watch lists everything anew.
type listed struct{ known, fresh map[string]bool }

func (l *listed) gone(what store.What, key string) []string {
	switch what {
	case store.Resync:
		l.fresh = map[string]bool{}
	case store.Put:
		if l.known == nil {
			l.known = map[string]bool{}
		}
		l.known[key] = true
		if l.fresh != nil {
			l.fresh[key] = true
		}
	case store.Deleted:
		delete(l.known, key)
		return []string{key}
	case store.Synced:
		var out []string
		for name := range l.known {
			if !l.fresh[name] {
				delete(l.known, name)
				out = append(out, name)
			}
		}
		l.fresh = nil
		return out
	}
	return nil
}
