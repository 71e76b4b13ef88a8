package main

import (
	"context"
	"fmt"
	"time"
)

// again restarts a controller whose agents are connected: they all come back at once.
func (b *bench) again(ctx context.Context, c *controller, w *crowd, agents int) ([]row, error) {
	b.say("fleet: %d agents come back at once", agents)
	if err := c.stop(); err != nil {
		return nil, err
	}
	ready, err := c.start(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if _, err := w.await(ctx, agents, func(a arrival) bool { return a.Kind == "connected" && a.At.After(began.Add(-ready)) }); err != nil {
		return nil, err
	}
	took := time.Since(began)
	if err := pause(ctx, settling); err != nil {
		return nil, err
	}
	peak, err := kilobytes(c.cmd.Process.Pid, "status", "VmHWM:")
	if err != nil {
		return nil, err
	}
	after, err := resident(c.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	most := int64(peak["VmHWM:"]) << 10
	return []row{
		{measure: fmt.Sprintf("%d agents come back after a restart: from ready to the last", agents), ours: span(took)},
		{measure: "the most memory meanwhile, and 20 s later", ours: bytesText(most) + " / " + bytesText(after)},
	}, nil
}
