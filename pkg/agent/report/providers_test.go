package report_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/api"
)

func TestProviders(t *testing.T) {
	states := []api.ProviderState{
		{
			Name: "connect", Schemes: []string{"op"}, Reachable: true, Requests: 10, FailedRequests: 3,
			LastAttempt: time.Unix(1000, 0), LastSuccess: time.Unix(1000, 0), Token: &api.TokenState{Expires: time.Unix(2000, 0)},
		},
		{Name: "keyvault", Schemes: []string{"akv"}, LastAttempt: time.Unix(1000, 0), Reason: api.ReasonProviderDown, Message: "down"},
		{Name: "dotenv", Schemes: []string{}},
	}
	r := report.New(report.Config{
		Node: "b", Log: slog.New(slog.DiscardHandler), Providers: func() []api.ProviderState { return states },
	})
	if diff := cmp.Diff(states, r.Status().SecretProviders); diff != "" {
		t.Error(diff)
	}
	text := "\n" + get(t, r, "/metrics").Body.String()
	for _, want := range []string{
		`ktrdr_secret_provider_up{provider="connect"} 1`,
		`ktrdr_secret_provider_up{provider="keyvault"} 0`,
		`ktrdr_secret_provider_last_success_timestamp_seconds{provider="connect"} 1000`,
		`ktrdr_secret_provider_token_expiry_timestamp_seconds{provider="connect"} 2000`,
		`ktrdr_secret_provider_requests_total{provider="connect",result="ok"} 7`,
		`ktrdr_secret_provider_requests_total{provider="connect",result="error"} 3`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(text, `success_timestamp_seconds{provider="keyvault"`) || strings.Contains(text, `expiry_timestamp_seconds{provider="keyvault"`) ||
		strings.Contains(text, `provider_up{provider="dotenv"`) {
		t.Error("what nobody knows is told")
	}
}
