package telemetry_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/telemetry"
)

// TestTrim: memory is given back once after each burst, and not again while it is quiet.
func TestTrim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const burst = 32 << 20
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); telemetry.Trim(ctx, burst) }()
		forced := func() uint32 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.NumForcedGC
		}
		work := func() {
			for range 2 * burst >> 20 {
				runtime.KeepAlive(make([]byte, 1<<20))
			}
		}
		work()
		time.Sleep(time.Minute)
		before := forced()
		time.Sleep(time.Minute)
		if got := forced() - before; got != 0 {
			t.Errorf("trimmed %d times while nothing happened", got)
		}
		work()
		time.Sleep(time.Minute)
		if got := forced() - before; got != 1 {
			t.Errorf("trimmed %d times after a burst", got)
		}
		cancel()
		<-done
	})
}
