package hub

import (
	"context"
	"fmt"
	"sync"
	"time"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// movePause is the time between two looks for where a node is.
const movePause = 500 * time.Millisecond

// forward gives a command to a node of another controller. When the node turns up at a third one,
// or here, the command is over: a controller that hangs would never say so.
func (h *Hub) forward(ctx context.Context, to string, r Request) (*ktrdrv1.CommandResult, error) {
	ctx, end := context.WithCancelCause(ctx)
	var looking sync.WaitGroup
	looking.Go(func() {
		if h.moves(ctx, r.Node, to) {
			end(fmt.Errorf("it went to another controller during the command: %w", ErrNotConnected))
		}
	})
	defer looking.Wait()
	defer end(nil)
	return h.cfg.Forward(ctx, to, r)
}

// moves waits until a node is connected to another controller than from; false when ctx ended.
func (h *Hub) moves(ctx context.Context, node, from string) bool {
	ticker := time.NewTicker(movePause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
		if n, _ := h.board.get(node); n.Connected && n.Controller != from {
			return true
		}
	}
}
