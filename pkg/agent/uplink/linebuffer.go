package uplink

import (
	"context"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// lineBuffer holds lines until the stream takes them. Lines from before it was made wait
// for room, because their container has written them long ago; newer ones are left out and
// counted, so that what is shown stays close to what happens.
type lineBuffer struct {
	began time.Time
	// filled rings when there is something, room when there is room.
	filled, room chan struct{}

	mu      sync.Mutex
	lines   []bufferedLine
	bytes   int
	dropped uint64 // since the last line in lines
	closed  bool
}

type bufferedLine struct {
	*ktrdrv1.LogLine
	// dropped is how many were left out before this one.
	dropped uint64
}

func (l bufferedLine) cost() int { return len(l.GetText()) + lineCost }

func newLineBuffer() *lineBuffer {
	return &lineBuffer{began: time.Now(), filled: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func (b *lineBuffer) add(ctx context.Context, line LogLine) {
	m := &ktrdrv1.LogLine{
		Stack: wire.Text(line.Stack), Service: wire.Text(line.Service), Container: wire.Text(line.Container),
		Time: wire.Timestamp(line.Time), Stderr: line.Stderr, Text: cutText(wire.Text(line.Text), maxLine),
	}
	for !b.put(m, line.Time.Before(b.began)) {
		select {
		case <-b.room:
		case <-ctx.Done():
			return
		}
	}
	ring(b.room) // others may wait too
	ring(b.filled)
}

// put returns false for an old line that there is no room for.
func (b *lineBuffer) put(m *ktrdrv1.LogLine, old bool) bool { //nolint:revive // a property of the line
	b.mu.Lock()
	defer b.mu.Unlock()
	line := bufferedLine{m, b.dropped}
	switch {
	case b.bytes+line.cost() <= maxPending:
		b.lines = append(b.lines, line)
		b.bytes += line.cost()
		b.dropped = 0
	case old:
		return false
	default:
		b.dropped++
	}
	return true
}

func (b *lineBuffer) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	ring(b.filled)
}

// next waits for lines; nil when there will be no more. Once a batch begins it waits a
// moment for more lines.
func (b *lineBuffer) next(ctx context.Context) *ktrdrv1.LogBatch {
	for {
		b.mu.Lock()
		empty, closed, dropped := len(b.lines) == 0, b.closed, b.dropped > 0
		b.mu.Unlock()
		switch {
		case ctx.Err() != nil, empty && closed && !dropped:
			return nil
		case empty && !closed:
			select {
			case <-b.filled:
			case <-ctx.Done():
			}
			continue
		case !closed:
			_ = sleep(ctx, gather)
		}
		return b.take()
	}
}

// take returns the next lines, up to those that others were left out before.
func (b *lineBuffer) take() *ktrdrv1.LogBatch {
	b.mu.Lock()
	defer b.mu.Unlock()
	batch := &ktrdrv1.LogBatch{}
	if len(b.lines) == 0 {
		batch.Dropped, b.dropped = b.dropped, 0
		return batch
	}
	batch.Dropped = b.lines[0].dropped
	n, size := 0, 0
	for n < len(b.lines) && (n == 0 || b.lines[n].dropped == 0 && size+b.lines[n].cost() <= maxLogBatch) {
		size += b.lines[n].cost()
		batch.Lines = append(batch.Lines, b.lines[n].LogLine)
		n++
	}
	b.lines = b.lines[n:]
	b.bytes -= size
	ring(b.room)
	return batch
}
