package ctl_test

import (
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// secretsWell is a node whose secrets are all fresh.
func secretsWell() *api.SecretsStatus {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	const item = "op://KTRDR Homelab Secrets/ktrdr-homelab-core/"
	return &api.SecretsStatus{
		Node: "b", Time: now,
		Providers: []api.ProviderState{
			{Name: "connect", Schemes: []string{"op"}, Reachable: true, LastAttempt: now, LastSuccess: now.Add(-5 * time.Second), Token: &api.TokenState{Expires: now.Add(100 * 24 * time.Hour)}},
			{Name: "keyvault", Schemes: []string{"akv"}},
		},
		Secrets: []api.SecretStatus{
			{
				Reference: item + "db_password", Provider: "connect", Phase: api.SecretFresh, Generation: 2,
				ChangedAt: now.Add(-3 * time.Hour), ConfirmedAt: now.Add(-5 * time.Second),
				Users: []api.SecretUser{{Stack: "core", Service: "db"}, {Stack: "core", Service: "backend"}},
			},
			{
				Reference: item + "ghcr_token", Provider: "connect", Phase: api.SecretFresh, Generation: 1,
				ChangedAt: now.Add(-73 * time.Hour), ConfirmedAt: now.Add(-5 * time.Second), Users: []api.SecretUser{{Registry: "ghcr.io"}},
			},
		},
	}
}

// secretsFailing is the same node with its provider down and a policy.
func secretsFailing() *api.SecretsStatus {
	st := secretsWell()
	p := &st.Providers[0]
	p.Reachable, p.Reason, p.Message, p.LastSuccess = false, api.ReasonSecretsStale, "resolve secrets: provider unreachable", st.Time.Add(-time.Hour)
	p.Token.Expires = st.Time.Add(-time.Hour)
	stale := &st.Secrets[0]
	stale.Phase, stale.Reason, stale.Message = api.SecretStale, api.ReasonSecretsStale, "resolve secrets: provider unreachable"
	st.Secrets = append(st.Secrets, api.SecretStatus{
		Reference: "op://other/item/field", Provider: "connect", Phase: api.SecretDenied, Reason: api.ReasonPolicyViolation,
		Message: "the node's policy \x1b[31mdoes not allow it", Users: []api.SecretUser{{Stack: "core", Service: "mcp"}},
	}, api.SecretStatus{
		Reference: "akv://vault/name", Phase: api.SecretMissing, Reason: api.ReasonSecretMissing, Message: "it was not asked for yet",
		Users: []api.SecretUser{{Stack: "core", Service: "mcp"}},
	})
	return st
}
