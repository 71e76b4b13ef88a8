package controller

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Pace of trimming: what was allocated in one look while it is quiet, and what a burst has
// allocated at least to be worth it, in bytes.
const (
	trimEvery = 5 * time.Second
	quiet     = 8 << 20
	burst     = 64 << 20
)

// trim gives memory back to the system after a burst of work: to validate a push of a large
// fleet takes many times of what it takes to watch it, and the collector alone returns it only
// when the next burst comes.
func trim(ctx context.Context) {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	allocated := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	last := allocated()
	trimmed := last
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := allocated()
		if now-last < quiet && now-trimmed > burst {
			debug.FreeOSMemory()
			now = allocated()
			trimmed = now
		}
		last = now
	}
}
