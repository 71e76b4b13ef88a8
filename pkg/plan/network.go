package plan

import (
	"fmt"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// networkState is what Build knows about one network of the stack.
type networkState struct {
	spec *api.NetworkSpec
	// id of the network that is to be used; empty when it has to be made.
	id string
	// key of the op that makes it; empty when it exists.
	key string
	// replaced is the network of another configuration that has to go first.
	replaced *api.Network
	problem  *problem
}

func (b *builder) planNetworks() {
	for i := range b.stack.Networks {
		spec := &b.stack.Networks[i]
		st := &networkState{spec: spec}
		b.networks[spec.Name] = st
		found := b.findNetwork(spec)
		switch {
		case found == nil && spec.External:
			st.problem = &problem{
				waiting: true, reason: api.ReasonExternalMissing,
				message: fmt.Sprintf("external network %q does not exist: create it with `docker network create %s`, or remove external: true", spec.Name, spec.Name),
			}
		case found == nil:
			st.key = b.createNetwork(spec, "network does not exist", nil)
		case b.diverged(found, spec):
			b.replaceNetwork(st, found)
		default:
			st.id = found.ID
		}
	}
}

// findNetwork matches the exact name. Engines before 25 allow several networks of one
// name: ours wins, then the first by id.
func (b *builder) findNetwork(spec *api.NetworkSpec) *api.Network {
	var found *api.Network
	for _, n := range b.obs.Networks {
		if n.Name != spec.Name {
			continue
		}
		if found == nil || better(n, found, b.stack) {
			found = n
		}
	}
	return found
}

func better(a, b *api.Network, stack *api.Stack) bool {
	aOurs, bOurs := ownsNetwork(stack, a), ownsNetwork(stack, b)
	if aOurs != bOurs {
		return aOurs
	}
	return a.ID < b.ID
}

func ownsNetwork(stack *api.Stack, n *api.Network) bool {
	return n.Labels[api.LabelStack] == stack.Name && n.Labels[api.LabelProject] == stack.Project
}

// diverged compares by hash only what the agent made itself. A network that Compose or
// a person made is used as it is, as Compose does.
func (b *builder) diverged(n *api.Network, spec *api.NetworkSpec) bool {
	return !spec.External && ownsNetwork(b.stack, n) && n.Labels[api.LabelSpecHash] != spec.Hash()
}

func (b *builder) createNetwork(spec *api.NetworkSpec, cause string, needs []string) string {
	return b.add(Op{
		Key: string(CreateNetwork) + "/" + spec.Name, Kind: CreateNetwork, Object: spec.Name,
		Cause: cause, Network: spec, Needs: needs,
	})
}

// replaceNetwork detaches what is attached, removes the network and makes it anew. The
// containers are stopped first, because an address can't change under a running process.
func (b *builder) replaceNetwork(st *networkState, old *api.Network) {
	attached := b.attachedTo(old.ID)
	for _, c := range attached {
		if owner(b.stack, c) == foreign {
			st.id = old.ID // stays in use; nobody is stopped for what can't be done
			st.problem = &problem{reason: api.ReasonNetworkDiverged, message: fmt.Sprintf(
				"network %q has to be made anew, but container %q, which is not part of this stack, is attached: disconnect it", old.Name, c.Name)}
			return
		}
	}
	st.replaced = old
	var detached []string
	for _, c := range attached {
		var needs []string
		if isUp(c) {
			needs = append(needs, b.stop(c, c.Labels[api.LabelService], fmt.Sprintf("network %q is made anew", old.Name), nil))
		}
		detached = append(detached, b.disconnect(c, old.ID, old.Name, "network is made anew", needs))
	}
	removed := b.add(Op{
		Key: string(RemoveNetwork) + "/" + shortID(old.ID), Kind: RemoveNetwork, Object: old.Name, ID: old.ID,
		Cause: "configuration changed", Needs: detached,
	})
	st.key = b.createNetwork(st.spec, "configuration changed", []string{removed})
}

func (b *builder) attachedTo(networkID string) []*api.Container {
	var list []*api.Container
	for _, c := range sortedContainers(b.obs.Containers) {
		if _, ok := c.Attached[networkID]; ok {
			list = append(list, c)
		}
	}
	return list
}

func (b *builder) disconnect(c *api.Container, networkID, name, cause string, needs []string) string {
	return b.add(Op{
		Key: fmt.Sprintf("%s/%s/%s", Disconnect, shortID(networkID), shortID(c.ID)), Kind: Disconnect,
		Object: c.Name + " from " + name, Service: c.Labels[api.LabelService], ID: c.ID, NetworkID: networkID,
		Cause: cause, Needs: needs,
	})
}

// repairEndpoints plans what brings the keeper's attachments to what its spec says, and
// returns the keys a start has to wait for.
func (b *builder) repairEndpoints(s *slot) []string {
	if len(s.rep.Spec.Endpoints) == 0 {
		return nil
	}
	c := s.keeper
	var needs []string
	wanted := map[string]bool{}
	for i := range s.rep.Spec.Endpoints {
		ep := &s.rep.Spec.Endpoints[i]
		st := b.networks[ep.Network]
		if st == nil || st.key == "" && st.id == "" {
			continue // external and missing: the status says so
		}
		if st.key != "" {
			needs = append(needs, b.connect(s, ep, "", "network is made anew", []string{st.key}))
			continue
		}
		wanted[st.id] = true
		have, attached := c.Attached[st.id]
		cause := "container is not attached"
		if attached {
			cause = endpointDrift(c, ep, have)
		}
		if cause == "" {
			continue
		}
		var first []string
		if attached {
			first = append(first, b.disconnect(c, st.id, ep.Network, cause, nil))
		}
		needs = append(needs, b.connect(s, ep, st.id, cause, first))
	}
	return append(needs, b.dropStray(c, wanted)...)
}

// dropStray disconnects networks that the spec does not name: attached by hand, or left
// behind by a network that was removed and made again.
func (b *builder) dropStray(c *api.Container, wanted map[string]bool) []string {
	ids := make([]string, 0, len(c.Attached))
	for id := range c.Attached {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var needs []string
	for _, id := range ids {
		if wanted[id] || b.isReplaced(id) {
			continue
		}
		needs = append(needs, b.disconnect(c, id, c.Attached[id].Name, "network is not in the desired state", nil))
	}
	return needs
}

func (b *builder) isReplaced(networkID string) bool {
	for _, st := range b.networks {
		if st.replaced != nil && st.replaced.ID == networkID {
			return true
		}
	}
	return false
}

func (b *builder) connect(s *slot, ep *api.Endpoint, networkID, cause string, needs []string) string {
	return b.add(Op{
		Key: fmt.Sprintf("%s/%s/%s", Connect, ep.Network, shortID(s.keeper.ID)), Kind: Connect,
		Object: s.keeper.Name + " to " + ep.Network, Service: s.svc.Name, ID: s.keeper.ID, NetworkID: networkID,
		Endpoint: ep, Cause: cause, Needs: needs,
	})
}

// endpointDrift says why an attachment is not as wanted; empty means it is.
func endpointDrift(c *api.Container, ep *api.Endpoint, have api.Attachment) string {
	var missing []string
	for _, alias := range ep.Aliases {
		if alias != c.Name && !slices.Contains(have.Aliases, alias) {
			missing = append(missing, alias)
		}
	}
	if len(missing) > 0 {
		return "alias " + strings.Join(missing, ", ") + " is missing"
	}
	if ep.IPv4Address != "" && ep.IPv4Address != have.IPv4 {
		return "address is not " + ep.IPv4Address
	}
	if ep.IPv6Address != "" && ep.IPv6Address != have.IPv6 {
		return "address is not " + ep.IPv6Address
	}
	return ""
}
