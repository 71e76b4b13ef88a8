package hub

import "context"

// Await waits until what is known of a node is as ok says, or ctx ends. What was just written to
// the store is known here a moment later: who has changed it asks to see it.
func (h *Hub) Await(ctx context.Context, name string, ok func(Node) bool) {
	for {
		changed := h.board.bell()
		if n, _ := h.board.get(name); ok(n) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
