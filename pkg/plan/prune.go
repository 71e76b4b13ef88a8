package plan

import (
	"fmt"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// prune removes containers and networks of the stack that are no longer wanted. It runs
// only on a complete observation, and never touches volumes or foreign objects.
func (b *builder) prune() {
	wanted := map[slotKey]bool{}
	for _, s := range b.slots {
		wanted[slotKey{s.svc.Name, s.rep.Number}] = true
	}
	var removals []string
	for _, key := range b.surplus(wanted) {
		for _, c := range b.owned[key] {
			removals = append(removals, b.pruneContainer(key, c))
		}
	}
	b.pruneNetworks(removals)
}

// surplus lists owned slots that nothing wants: highest number first, then by name, so
// that scaling down removes the highest slot first.
func (b *builder) surplus(wanted map[slotKey]bool) []slotKey {
	var keys []slotKey
	for key := range b.owned {
		if !wanted[key] {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(x, y slotKey) int {
		if x.number != y.number {
			return y.number - x.number
		}
		return strings.Compare(x.service, y.service)
	})
	return keys
}

func (b *builder) pruneContainer(key slotKey, c *api.Container) string {
	cause := fmt.Sprintf("service %q is not in the desired state", key.service)
	switch {
	case b.phase == RolledBack:
		cause = fmt.Sprintf("service %q was not so in the last known good", key.service)
	case b.stack.Service(key.service) != nil:
		cause = fmt.Sprintf("service %q is scaled down", key.service)
	}
	prob, measure := b.protect(c, api.Protection{})
	if prob != nil {
		b.pooled = append(b.pooled, api.Condition{
			Type: api.ConditionBlocked, Status: true, Reason: prob.reason, Object: c.Name, Message: prob.message,
		})
		return blockedKey
	}
	var needs []string
	if measure != "" {
		needs = append(needs, measure)
	}
	return b.stopAndRemove(c, &api.Service{Name: key.service}, cause, needs)
}

func (b *builder) pruneNetworks(removals []string) {
	for _, n := range b.sortedNetworks() {
		if !ownsNetwork(b.stack, n) || b.networks[n.Name] != nil || b.isReplaced(n.ID) {
			continue
		}
		if slices.ContainsFunc(b.attachedTo(n.ID), func(c *api.Container) bool { return owner(b.stack, c) == foreign }) {
			continue // somebody else uses it
		}
		needs := append([]string(nil), removals...)
		for _, s := range b.slots {
			if s.keeper != nil && hasAttachment(s.keeper, n.ID) {
				needs = append(needs, fmt.Sprintf("%s/%s/%s", Disconnect, shortID(n.ID), shortID(s.keeper.ID)))
			}
		}
		if slices.Contains(needs, blockedKey) {
			continue
		}
		b.add(Op{
			Key: string(RemoveNetwork) + "/" + shortID(n.ID), Kind: RemoveNetwork, Object: n.Name, ID: n.ID,
			Cause: "network is not in the desired state", Needs: needs,
		})
	}
}

func hasAttachment(c *api.Container, networkID string) bool {
	_, ok := c.Attached[networkID]
	return ok
}

func (b *builder) sortedNetworks() []*api.Network {
	list := make([]*api.Network, 0, len(b.obs.Networks))
	for _, n := range b.obs.Networks {
		list = append(list, n)
	}
	slices.SortFunc(list, func(x, y *api.Network) int { return strings.Compare(x.Name+x.ID, y.Name+y.ID) })
	return list
}
