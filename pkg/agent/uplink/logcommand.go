package uplink

import (
	"context"
	"time"

	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Limits of logs.
const (
	maxTail     = 10_000
	maxServices = 200
	// maxLine is the text of one line, in bytes.
	maxLine = 16 << 10
	// maxLogBatch is the text of one message, and maxPending what waits for the stream, in
	// bytes; each line counts lineCost more.
	maxLogBatch = 64 << 10
	maxPending  = 512 << 10
	lineCost    = 128
	// gather is how long lines are collected for one message.
	gather = 20 * time.Millisecond
)

func (c *commands) logs(ctx context.Context, id string, m *ktrdrv1.LogsCommand) error {
	if m.GetTail() > maxTail || len(m.GetServices()) > maxServices || len(m.GetStack()) > maxName {
		return refuse(reasonInvalid, "at most %d last lines and %d services", maxTail, maxServices)
	}
	q := LogQuery{
		Stack: m.GetStack(), Services: m.GetServices(), Tail: int(m.GetTail()), Since: wire.Time(m.GetSince()), Follow: m.GetFollow(),
	}
	b := newLineBuffer()
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		for batch := b.next(ctx); batch != nil; batch = b.next(ctx) {
			c.out(ctx, &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Output{Output: &ktrdrv1.CommandOutput{
				Id: id, Kind: &ktrdrv1.CommandOutput_Logs{Logs: batch},
			}}})
		}
	}()
	err := c.s.link.cfg.Logs.Stream(ctx, q, func(line LogLine) { b.add(ctx, line) })
	b.close()
	<-pumped
	if err == nil {
		err = ctx.Err()
	}
	return err
}
