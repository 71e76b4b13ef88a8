package uplink_test

import (
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/uplink"
)

// TestReconnectPauses: agents that lost a controller together come back at different moments,
// and leave it alone the more the longer it is away.
func TestReconnectPauses(t *testing.T) {
	t.Parallel()
	timing := uplink.Timing{RetryFirst: 500 * time.Millisecond, RetryLast: 30 * time.Second}
	for failures, limit := range map[int]time.Duration{
		0: 500 * time.Millisecond, 1: 500 * time.Millisecond, 2: time.Second, 5: 8 * time.Second, 7: 30 * time.Second, 1_000_000: 30 * time.Second,
	} {
		early, late := 0, 0
		for range 1000 {
			pause := uplink.Pause(timing, failures)
			switch {
			case pause <= 0 || pause > limit:
				t.Fatalf("after %d failures a pause of %s, want at most %s", failures, pause, limit)
			case pause < limit/10:
				early++
			case pause > limit/10*9:
				late++
			}
		}
		// A tenth of them each, give or take ten times what chance does.
		if early < 5 || late < 5 {
			t.Errorf("after %d failures %d of 1000 come in the first tenth of %s and %d in the last: they come together", failures, early, limit, late)
		}
	}
}
