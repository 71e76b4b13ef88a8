package telemetry

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// trimEvery is how often Trim looks.
const trimEvery = 5 * time.Second

// Trim gives memory back to the system after a burst of work, until ctx ends: to read a
// desired state or to validate a push takes many times of what it takes to watch over it, and
// the collector alone returns it only when the next burst comes. A burst has allocated at least
// burst bytes; it is over when burst/8 bytes or less are allocated between two looks.
func Trim(ctx context.Context, burst uint64) {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	allocated := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	var last, trimmed uint64 // what was allocated before counts as a burst
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := allocated()
		if now-last <= burst/8 && now-trimmed >= burst {
			debug.FreeOSMemory()
			now = allocated()
			trimmed = now
		}
		last = now
	}
}
