package agent

import (
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

func TestExpiringToken(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	state := func(expires time.Time) api.ProviderState {
		return api.ProviderState{Name: "connect", Token: &api.TokenState{Expires: expires}}
	}
	for _, quiet := range []api.ProviderState{{Name: "dotenv"}, state(time.Time{}), state(now.AddDate(0, 0, 15))} {
		if c := expiringToken(quiet, now); c != nil {
			t.Errorf("%+v warns: %+v", quiet.Token, c)
		}
	}
	for expires, want := range map[time.Time]string{
		now.AddDate(0, 0, 13):  "expires in 13 days, on 2026-01-14",
		now.Add(2 * time.Hour): "expires within a day, at 2026-01-01T14:00:00Z",
		now.Add(-time.Second):  "expired on 2026-01-01",
	} {
		c := expiringToken(state(expires), now)
		if c == nil || c.Type != api.ConditionWarning || c.Reason != api.ReasonTokenExpiring || c.Object != "connect" || !strings.Contains(c.Message, want) {
			t.Errorf("%+v, want %q", c, want)
		}
	}
}

func TestJitter(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 200 {
		d := jittered(time.Minute)
		if d < 54*time.Second || d > 66*time.Second {
			t.Fatalf("%s is more than a tenth off", d)
		}
		seen[d] = true
	}
	if len(seen) < 100 {
		t.Errorf("only %d different ones of 200", len(seen))
	}
}
