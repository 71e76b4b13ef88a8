package agent

import (
	"log/slog"
	"path/filepath"
	"testing"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/api"
)

// TestEventNumbersAcrossRestarts: the next agent begins after what the one before it may have
// given, not at its clock.
func TestEventNumbersAcrossRestarts(t *testing.T) {
	cfg := Default()
	cfg.Node, cfg.StateDir, cfg.SecretsDir = "a", filepath.Join(t.TempDir(), "state"), t.TempDir()
	cfg.Source.Dir = &DirSource{Path: t.TempDir()}
	life := func() uint64 {
		a, err := newAgent(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer a.close()
		a.report.SetMount("/m", api.MountState{Reason: api.ReasonMountMissing})
		return a.report.Events(0, 1)[0].Seq
	}
	if first, second := life(), life(); second != first+report.ReservedNumbers {
		t.Errorf("the first agent began with %d, the second one with %d", first, second)
	}
}
