package secrets_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
)

// TestGeneration: only another value is another generation, not a look, a failure or
// another version.
func TestGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ref = "op://v/i/f"
		p := &provider{}
		s := secrets.New(p, make([]byte, 32))
		first := time.Now()
		look := func(value string, generation uint64, changed time.Time) {
			t.Helper()
			p.values = map[string]string{}
			if value != "" {
				p.values[ref] = value
			}
			_ = s.Refresh(t.Context(), []string{ref}) // not found is told by States
			got := s.States()[0]
			if got.Generation != generation || !got.ChangedAt.Equal(changed) {
				t.Errorf("generation %d, changed at %s", got.Generation, got.ChangedAt)
			}
			time.Sleep(time.Minute) // the bubble's clock
		}
		look("", 0, time.Time{})
		look("one", 1, first.Add(time.Minute))
		look("one", 1, first.Add(time.Minute))
		look("", 1, first.Add(time.Minute))
		look("one", 1, first.Add(time.Minute))
		look("two", 2, first.Add(5*time.Minute))
		look("one", 3, first.Add(6*time.Minute))
	})
}
