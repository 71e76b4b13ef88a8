package rollout_test

import (
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/rollout"
)

// lacking is a stack of one service that waits for what a condition says, with work left to do.
func lacking(kind string, reason api.Reason, object string) api.StackStatus {
	return stack(func(s *api.StackStatus) {
		s.Converged, s.Reason, s.Pending = false, reason, []string{"pull-image web:2: image is not on this node"}
		s.Services = []api.ServiceStatus{{Service: "web", Container: "core-web", Image: "web:2", Running: "web:1", State: "running", Reason: reason}}
		s.Conditions = []api.Condition{{Type: kind, Status: true, Reason: reason, Object: object, Message: "the agent's words"}}
	})
}

// fate is when a rollout to a node with that stack fails: at once, after the grace or at the limit.
func fate(t *testing.T, s api.StackStatus) (when, message string, reason api.Reason) {
	t.Helper()
	nodes := map[string]rollout.Node{"a": at("sha256:r2a", s)}
	r := begin(rollout.Order{})
	for _, look := range []struct {
		when  string
		after time.Duration
	}{
		{"at once", 0},
		{"early", rollout.FaultGrace - 1},
		{"after the grace", rollout.FaultGrace},
		{"early", rollout.DefaultTimeout - 1},
		{"at the limit", rollout.DefaultTimeout},
	} {
		next, _ := rollout.Next(r, nodes, t0.Add(look.after))
		if r = &next; r.Phase == rollout.Failed {
			return look.when, r.Message, r.Reason
		}
	}
	return "never", "", ""
}

// TestFaults is the table of docs/spec/controller.md: what a stack that has work left says, and
// when that fails its wave.
func TestFaults(t *testing.T) {
	const blocked, degraded, image, container = api.ConditionBlocked, api.ConditionDegraded, "web:2", "core-web"
	for _, c := range []struct {
		kind   string
		reason api.Reason
		object string
		want   string
	}{
		{degraded, api.ReasonImageMissing, image, "at once"},
		{blocked, api.ReasonImageMissing, container, "at once"},          // pull_policy never
		{degraded, api.ReasonImageMissing, container, "after the grace"}, // removed between pull and create
		{degraded, api.ReasonImageMissing, "other:1", "at the limit"},    // a look in the background
		{degraded, api.ReasonImageDenied, image, "at once"},
		{degraded, api.ReasonImagePull, image, "after the grace"},
		{degraded, api.ReasonSecretInvalid, container, "at once"},
		{degraded, api.ReasonSecretMissing, container, "after the grace"},
		{degraded, api.ReasonProviderDown, container, "after the grace"},
		{degraded, api.ReasonProviderDenied, container, "at once"},
		{blocked, api.ReasonUndeliverable, container, "at once"},
		{blocked, api.ReasonPolicyViolation, "web", "at once"},
		{blocked, api.ReasonDataUnprotected, container, "at once"},
		{blocked, api.ReasonForeign, "network", "at once"},
		{blocked, api.ReasonNameConflict, container, "at once"},
		{blocked, api.ReasonNetworkDiverged, "network", "at once"},
		{blocked, api.ReasonVolumeDiverged, "volume", "at once"},
		{blocked, api.ReasonExternalMissing, "volume", "at once"},
		{blocked, api.ReasonRotationRefused, container, "at once"},
		{degraded, api.ReasonUnsupported, container, "at once"},
		{degraded, api.ReasonMountMissing, container, "after the grace"},
		{degraded, api.ReasonMountHung, container, "after the grace"},
		{degraded, api.ReasonMountReadOnly, container, "after the grace"},
		{degraded, api.ReasonMountGroup, container, "after the grace"},
		{degraded, api.ReasonPortConflict, container, "after the grace"},
		{degraded, api.ReasonPortLost, container, "after the grace"},
		{degraded, api.ReasonDiskFull, container, "after the grace"},
		{degraded, api.ReasonEngineDown, container, "after the grace"},
		{degraded, api.ReasonRotationFailed, container, "after the grace"},
		{degraded, api.ReasonRotating, container, "at the limit"},
		{degraded, api.ReasonUnhealthy, container, "at the limit"}, // the agent rolls back
		{degraded, api.ReasonCrashLoop, container, "at the limit"},
		{degraded, api.ReasonEngineFailed, container, "at the limit"},
		{degraded, api.ReasonRollingBack, container, "at the limit"},
		{blocked, api.ReasonEngineFailed, container, "at the limit"}, // likewise, while there is something to do
		{api.ConditionWarning, api.ReasonSecretInvalid, container, "at the limit"},
	} {
		s := lacking(c.kind, c.reason, c.object)
		when, message, reason := fate(t, s)
		if when != c.want {
			t.Errorf("%s %s about %s: fails %s, want %s", c.kind, c.reason, c.object, when, c.want)
		}
		if c.want == "at the limit" {
			continue
		}
		where := "node a: core: web: "
		if c.object == "network" || c.object == "volume" {
			where = "node a: core: " + c.object + ": "
		}
		if reason != c.reason || !strings.HasPrefix(message, where+string(c.reason)+": the agent's words; fix: ") {
			t.Errorf("%s about %s: %s %q has no place, reason or fix", c.reason, c.object, reason, message)
		}
	}
}

// TestFaultOfAHeldStack: who holds a stack knows.
func TestFaultOfAHeldStack(t *testing.T) {
	s := lacking(api.ConditionDegraded, api.ReasonImageDenied, "web:2")
	s.Hold = &api.Hold{}
	if r, _ := rollout.Next(begin(rollout.Order{}), map[string]rollout.Node{"a": at("sha256:r2a", s)}, t0); r.Waves[0].Phase != rollout.Succeeded {
		t.Errorf("the wave is %s: %s", r.Waves[0].Phase, r.Message)
	}
}

// TestFaultThatEnds: a registry that comes back in time costs nothing, and its next outage has
// its own grace; while the node is away nothing counts.
func TestFaultThatEnds(t *testing.T) {
	ailing := at("sha256:r2a", lacking(api.ConditionDegraded, api.ReasonImagePull, "web:2"))
	fine := at("sha256:r2a", stack(func(s *api.StackStatus) { s.Converged, s.Reason = false, api.ReasonProgressing }))
	away := ailing
	away.Connected, away.AwaySince = false, t0.Add(3*time.Minute)
	r := begin(rollout.Order{})
	for _, look := range []struct {
		minute float64
		node   rollout.Node
		want   rollout.Phase
	}{
		{0, ailing, rollout.Running},
		{1.9, ailing, rollout.Running},
		{1.95, fine, rollout.Running},
		{2.5, ailing, rollout.Running},
		{3, away, rollout.Running},
		{3.2, ailing, rollout.Running},
		{5.1, ailing, rollout.Running},
		{5.3, ailing, rollout.Failed},
	} {
		next, steps := rollout.Next(r, map[string]rollout.Node{"a": look.node}, t0.Add(time.Duration(look.minute*float64(time.Minute))))
		if r = &next; r.Phase != look.want {
			t.Fatalf("minute %.1f: %s, want %s\n%s", look.minute, r.Phase, look.want, told(steps))
		}
	}
}

// TestFaultOfBefore: what the node said before it got the slice may be what the slice mends.
func TestFaultOfBefore(t *testing.T) {
	old := at("sha256:r1a", lacking(api.ConditionDegraded, api.ReasonImageDenied, "web:2"))
	r, _ := rollout.Next(begin(rollout.Order{}), map[string]rollout.Node{"a": old}, t0)
	same := at("sha256:r2a", lacking(api.ConditionDegraded, api.ReasonImageDenied, "web:2"))
	if r, _ = rollout.Next(&r, map[string]rollout.Node{"a": same}, t0.Add(time.Second)); r.Phase != rollout.Running {
		t.Fatalf("fails before the agent had time to try: %s", r.Message)
	}
	if r, _ = rollout.Next(&r, map[string]rollout.Node{"a": same}, t0.Add(time.Minute)); r.Phase != rollout.Failed {
		t.Errorf("%s although it is tried and refused again", r.Phase)
	}
}
