package report

import (
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/telemetry"
)

// measured is what the metrics say about the providers of secrets.
func measured(ask func() []api.ProviderState) func() []telemetry.Provider {
	return func() []telemetry.Provider {
		var list []telemetry.Provider
		for _, s := range ask() {
			p := telemetry.Provider{
				Name: s.Name, Asked: !s.LastAttempt.IsZero(), Up: s.Reachable, LastSuccess: s.LastSuccess,
				Requests: s.Requests - s.FailedRequests, Failed: s.FailedRequests,
			}
			if s.Token != nil {
				p.TokenExpires = s.Token.Expires
			}
			list = append(list, p)
		}
		return list
	}
}
