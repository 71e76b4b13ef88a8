package agent

import (
	"maps"
	"slices"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// usedSecrets are the references of one desired state, by stack.
type usedSecrets struct {
	of      *api.Desired
	byStack map[string][]string
}

// stackSecrets tells about the references of a stack of the state in force: the generation in
// force, and what deviates.
func (a *Agent) stackSecrets(stack string, inForce map[string]string) []api.StackSecret {
	var list []api.StackSecret
	for _, ref := range a.secretsOf(stack) {
		list = append(list, stackSecret(a.secrets, ref, inForce[ref]))
		if last := &list[len(list)-1]; !a.gate.AllowsReference(ref) {
			last.Phase = api.SecretDenied
		}
	}
	return list
}

func stackSecret(store *secrets.Store, ref, digest string) api.StackSecret {
	newest := store.StateOf(ref)
	out := api.StackSecret{Reference: ref}
	out.Generation, out.Since = store.Generation(ref, digest)
	if newest.Generation != out.Generation {
		out.Wanted = newest.Generation
	}
	switch newest.Phase {
	case secrets.Fresh:
	case secrets.Stale:
		out.Phase, out.ConfirmedAt = api.SecretStale, newest.ResolvedAt
	case secrets.Missing:
		out.Phase = api.SecretMissing
	}
	return out
}

// secretsOf are the references of a stack of the state in force, sorted.
func (a *Agent) secretsOf(stack string) []string {
	d := a.desired.Load()
	known := a.used.Load()
	if known == nil || known.of != d {
		known = &usedSecrets{of: d, byStack: map[string][]string{}}
		users := secretUsers(d)
		for _, ref := range slices.Sorted(maps.Keys(users)) {
			var last string
			for _, user := range users[ref] {
				if user.Stack != "" && user.Stack != last {
					known.byStack[user.Stack] = append(known.byStack[user.Stack], ref)
					last = user.Stack
				}
			}
		}
		a.used.Store(known)
	}
	return known.byStack[stack]
}
