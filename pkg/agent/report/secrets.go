package report

import (
	"net/http"

	"ktrdr.io/fleet/pkg/api"
)

// secrets answers who uses which reference and how it is doing.
func (h *handler) secrets(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := onlyParams(r); err != nil {
		return nil, err
	}
	if h.report.secrets == nil {
		return api.SecretsStatus{Node: h.report.node, Providers: []api.ProviderState{}, Secrets: []api.SecretStatus{}}, nil
	}
	return h.report.secrets(), nil
}

// refuseSecrets: where secrets are kept is for operators to know.
func refuseSecrets(http.ResponseWriter, *http.Request) (any, error) {
	return nil, &problem{status: http.StatusForbidden, Reason: reasonForbidden, Text: "this address does not tell about secrets; use the agent's Unix socket"}
}

// counted is what the metrics say about references.
func counted(ask func() api.SecretsStatus) func() map[string]int {
	return func() map[string]int {
		count := map[string]int{}
		for _, phase := range api.SecretPhases() {
			count[string(phase)] = 0
		}
		for _, s := range ask().Secrets {
			count[string(s.Phase)]++
		}
		return count
	}
}
