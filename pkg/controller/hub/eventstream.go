package hub

import (
	"context"
	"slices"
)

// EventQuery chooses events of this controller.
type EventQuery struct {
	// Nodes; none for all, and the controller itself.
	Nodes []string
	// Limit of events before now, the newest.
	Limit int
	// Follow goes on with new ones.
	Follow bool
}

// StreamEvents gives events in the order in which they came here: those before now, then current
// is called once, then new ones until ctx ends.
func (h *Hub) StreamEvents(ctx context.Context, q EventQuery, each func(Event) error, current func() error) error {
	unwanted := func(e Event) bool { return len(q.Nodes) > 0 && !slices.Contains(q.Nodes, e.Node) }
	events, changed := h.Events(0)
	var seq uint64
	if len(events) > 0 {
		seq = events[len(events)-1].Seq
	}
	events = slices.DeleteFunc(events, unwanted)
	for _, e := range events[max(0, len(events)-q.Limit):] {
		if err := each(e); err != nil {
			return err
		}
	}
	if err := current(); err != nil || !q.Follow {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		events, changed = h.Events(seq)
		for _, e := range events {
			seq = e.Seq
			if unwanted(e) {
				continue
			}
			if err := each(e); err != nil {
				return err
			}
		}
	}
}
