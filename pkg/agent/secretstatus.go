package agent

import (
	"maps"
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// secretsStatus tells about every reference of the desired state in force.
func (a *Agent) secretsStatus() api.SecretsStatus { return a.secretsStatusOf(a.desired.Load()) }

func (a *Agent) secretsStatusOf(d *api.Desired) api.SecretsStatus {
	st := api.SecretsStatus{Node: a.cfg.Node, Time: time.Now(), Providers: a.secrets.Providers(), Secrets: []api.SecretStatus{}}
	if st.Providers == nil {
		st.Providers = []api.ProviderState{}
	}
	states := map[string]secrets.State{}
	for _, s := range a.secrets.States() {
		states[s.Ref] = s
	}
	users := secretUsers(d)
	for _, ref := range slices.Sorted(maps.Keys(users)) {
		entry := secretStatus(ref, states[ref])
		if !a.gate.AllowsReference(ref) {
			entry.Phase, entry.Reason, entry.Message = api.SecretDenied, api.ReasonPolicyViolation, secrets.ErrNotAllowed.Error()
		}
		entry.Provider, entry.Users = providerOf(ref, st.Providers), users[ref]
		st.Secrets = append(st.Secrets, entry)
	}
	return st
}

func secretStatus(ref string, s secrets.State) api.SecretStatus {
	entry := api.SecretStatus{
		Reference: ref, Generation: s.Generation, ConfirmedAt: s.ResolvedAt, ChangedAt: s.ChangedAt, Reason: s.Reason, Message: s.Message,
	}
	switch s.Phase {
	case secrets.Fresh:
		entry.Phase = api.SecretFresh
	case secrets.Stale:
		entry.Phase = api.SecretStale
	case secrets.Missing:
		entry.Phase = api.SecretMissing
	default:
		entry.Phase, entry.Reason, entry.Message = api.SecretMissing, api.ReasonSecretMissing, "it was not asked for yet"
	}
	return entry
}

func providerOf(ref string, providers []api.ProviderState) string {
	scheme, _, _ := strings.Cut(ref, "://")
	for i := range providers {
		if slices.Contains(providers[i].Schemes, strings.ToLower(scheme)) {
			return providers[i].Name
		}
	}
	return ""
}

// secretUsers maps each reference of a desired state to who uses it, in order.
func secretUsers(d *api.Desired) map[string][]api.SecretUser {
	users := map[string][]api.SecretUser{}
	if d == nil {
		return users
	}
	add := func(user api.SecretUser, refs []string) {
		for _, ref := range refs {
			if !slices.Contains(users[ref], user) {
				users[ref] = append(users[ref], user)
			}
		}
	}
	for i := range d.Stacks {
		for j := range d.Stacks[i].Services {
			svc := &d.Stacks[i].Services[j]
			user := api.SecretUser{Stack: d.Stacks[i].Name, Service: svc.Name}
			for k := range svc.Replicas {
				add(user, svc.Replicas[k].SecretRefs)
			}
			add(user, hookRefs(svc.PostStart))
			add(user, hookRefs(svc.PreStop))
		}
	}
	for _, r := range d.Registries {
		add(api.SecretUser{Registry: r.Host}, slices.Concat(api.References(r.Username), api.References(r.Password)))
	}
	return users
}
