package telemetry_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/telemetry"
)

// TestControllerMetrics: the state is that of the scrape.
func TestControllerMetrics(t *testing.T) {
	state := telemetry.FleetState{Desired: 4, Joined: 3, Connected: 2, ConnectedHere: 1, Leading: true, Rollout: "running", Since: time.Unix(12, 0)}
	m := telemetry.NewControllerMetrics(telemetry.Build{Version: "v1"}, func() telemetry.FleetState { return state })
	m.SliceSent()
	m.RolloutEnded("failed")
	m.Changed("refused")
	state.Converged = 2
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	for _, want := range []string{
		`ktrdr_controller_nodes{state="desired"} 4`, `ktrdr_controller_nodes{state="connected_here"} 1`, `ktrdr_controller_nodes{state="converged"} 2`,
		`ktrdr_controller_leading 1`, `ktrdr_controller_rollout_info{phase="running"} 1`, `ktrdr_controller_rollout_started_seconds 12`,
		`ktrdr_controller_slices_sent_total 1`, `ktrdr_controller_rollouts_total{phase="failed"} 1`, `ktrdr_controller_changes_total{result="refused"} 1`,
	} {
		if !strings.Contains(answer.Body.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, answer.Body)
		}
	}
}
