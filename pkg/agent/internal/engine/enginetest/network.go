package enginetest

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

type network struct {
	id   string
	spec api.NetworkSpec
	// pool is where addresses come from, configured or chosen.
	pool netip.Prefix
}

// endpoint is a container's place in a network. netID is empty until its first start.
type endpoint struct {
	netID   string
	config  api.Endpoint
	address string
}

// CreateNetwork makes a network. One of that name with the same identifying labels is
// taken as made before, any other is refused.
func (f *Fake) CreateNetwork(ctx context.Context, spec api.NetworkSpec, labels map[string]string) (id string, err error) {
	err = f.call(ctx, request{"CreateNetwork", spec.Name, "create network"}, func() error {
		if old := f.networkNamed(spec.Name); old != nil {
			for _, key := range []string{api.LabelStack, api.LabelProject, api.LabelNetwork} {
				if want, ok := labels[key]; ok && old.spec.Labels[key] != want {
					return refuseFor(engine.ErrConflict, api.Waiting, api.ReasonForeign, "network "+old.id+" exists and is not ours")
				}
			}
			id = old.id
			return nil
		}
		id, err = f.createNetwork(spec, labels)
		return err
	})
	return id, err
}

func (f *Fake) createNetwork(spec api.NetworkSpec, labels map[string]string) (string, error) {
	spec.Labels = union(spec.Labels, labels)
	if spec.Driver == "" {
		spec.Driver = "bridge"
	}
	pool, err := configuredPool(spec)
	if err != nil {
		return "", err
	}
	for _, other := range f.networks {
		if pool.IsValid() && pool.Overlaps(other.pool) {
			return "", refuse(engine.ErrInvalid, "Pool overlaps with other one on this address space")
		}
	}
	n := f.addNetwork(spec)
	if pool.IsValid() {
		n.pool = pool
	}
	f.emitNetwork(n, "create")
	return n.id, nil
}

func configuredPool(spec api.NetworkSpec) (netip.Prefix, error) {
	if spec.IPAM == nil || len(spec.IPAM.Config) == 0 || spec.IPAM.Config[0].Subnet == "" {
		return netip.Prefix{}, nil
	}
	pool, err := netip.ParsePrefix(spec.IPAM.Config[0].Subnet)
	if err != nil {
		return netip.Prefix{}, refuse(engine.ErrInvalid, "invalid subnet: %v", err)
	}
	return pool, nil
}

func (f *Fake) addNetwork(spec api.NetworkSpec) *network {
	f.subnet++
	n := &network{id: f.id("network", spec.Name), spec: spec}
	if spec.Driver != "host" && spec.Driver != "null" {
		// A range that no test configures.
		n.pool = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(240 + f.subnet/256), byte(f.subnet), 0, 0}), 16)
	}
	f.networks[n.id] = n
	return n
}

// RemoveNetwork removes a network that no running container is in; one that is gone is fine.
func (f *Fake) RemoveNetwork(ctx context.Context, id string) error {
	return f.call(ctx, request{"RemoveNetwork", id, "remove network"}, func() error { return f.removeNetwork(id) })
}

func (f *Fake) removeNetwork(id string) error {
	n := f.findNetwork(id)
	if n == nil {
		return nil
	}
	if slices.Contains([]string{"bridge", "host", "none"}, n.spec.Name) {
		return refuse(engine.ErrInvalid, "%s is a pre-defined network and cannot be removed", n.spec.Name)
	}
	for _, c := range f.containers {
		if ep := c.endpoints[n.spec.Name]; ep != nil && ep.netID == n.id && c.live() {
			return refuse(engine.ErrConflict, "error while removing network: network %s id %s has active endpoints", n.spec.Name, n.id)
		}
	}
	delete(f.networks, n.id)
	f.emitNetwork(n, "destroy")
	return nil
}

// Connect attaches a container to a network. One that is attached stays as it is.
func (f *Fake) Connect(ctx context.Context, r engine.ConnectRequest) error {
	return f.call(ctx, request{"Connect", r.ContainerID, "connect network"}, func() error { return f.join(r) })
}

func (f *Fake) join(r engine.ConnectRequest) error {
	c, err := f.find(r.ContainerID)
	if err != nil {
		return err
	}
	n := f.findNetwork(r.NetworkID)
	if n == nil {
		return refuse(engine.ErrNotFound, "network %s not found", r.NetworkID)
	}
	name := n.spec.Name
	if ep := c.endpoints[name]; ep != nil && c.live() {
		return nil
	}
	if c.endpoints["none"] != nil || c.endpoints["host"] != nil {
		return refuse(engine.ErrInvalid, "container cannot be connected to multiple networks with one of the networks in private (none) mode")
	}
	ep := &endpoint{config: r.Endpoint}
	ep.config.Network = name
	if c.live() {
		if err := f.attach(n, ep); err != nil {
			return err
		}
	}
	c.endpoints[name] = ep
	c.syncEndpoints()
	// Docker tells nothing of a connection of a container that does not run.
	if c.live() {
		f.emitEndpoint(c, name, "connect")
	}
	return nil
}

// Disconnect detaches a container; one that is not attached is fine.
func (f *Fake) Disconnect(ctx context.Context, networkID, containerID string) error {
	return f.call(ctx, request{"Disconnect", containerID, "disconnect network"}, func() error {
		return f.part(networkID, containerID)
	})
}

func (f *Fake) part(networkID, containerID string) error {
	c, err := f.find(containerID)
	n := f.findNetwork(networkID)
	if err != nil || n == nil || c.endpoints[n.spec.Name] == nil {
		return nil //nolint:nilerr // what is gone is not attached
	}
	// Unlike a connection, this is told of containers that don't run, too.
	c.endpoints[n.spec.Name].netID = n.id
	f.emitEndpoint(c, n.spec.Name, "disconnect")
	delete(c.endpoints, n.spec.Name)
	c.syncEndpoints()
	return nil
}

// live tells whether the container has endpoints in the kernel.
func (c *container) live() bool { return c.running && !c.restarting }

// attach finds an address for an endpoint that goes live.
func (f *Fake) attach(n *network, ep *endpoint) error {
	used := map[string]bool{}
	for _, c := range f.containers {
		if other := c.endpoints[n.spec.Name]; other != nil && other != ep && c.live() {
			used[other.address] = true
		}
	}
	ep.netID = n.id
	if !n.pool.IsValid() {
		return nil
	}
	if want := ep.config.IPv4Address; want != "" {
		pool, err := configuredPool(n.spec)
		addr, parseErr := netip.ParseAddr(want)
		switch {
		case err != nil || parseErr != nil || !pool.IsValid():
			return refuse(engine.ErrInvalid, "user specified IP address is supported only when connecting to networks with user configured subnets")
		case !pool.Contains(addr):
			return refuse(engine.ErrInvalid, "Invalid address %s: It does not belong to any of this network's subnets", want)
		case used[want]:
			return refuseFor(engine.ErrConflict, api.Waiting, api.ReasonPortConflict, "Address already in use")
		}
		ep.address = want
		return nil
	}
	// The first address is the gateway's.
	for addr := n.pool.Addr().Next().Next(); n.pool.Contains(addr); addr = addr.Next() {
		if !used[addr.String()] {
			ep.address = addr.String()
			return nil
		}
	}
	return refuse(nil, "no available IPv4 addresses on this network's address pools: %s", n.spec.Name)
}

// joinAll notes the networks of a new container.
func (c *container) joinAll(spec api.ContainerSpec) {
	for _, ep := range spec.Endpoints {
		c.endpoints[ep.Network] = &endpoint{config: ep}
	}
	switch mode := c.spec.NetworkMode; mode {
	case "bridge", "host", "none":
		c.endpoints[mode] = &endpoint{config: api.Endpoint{Network: mode}}
	}
	c.syncEndpoints()
}

// syncEndpoints writes the endpoints into the spec as they are read back: the primary
// one first, the rest by name, none for a mode that is no user network.
func (c *container) syncEndpoints() {
	primary := ""
	if len(c.spec.Endpoints) > 0 {
		primary = c.spec.Endpoints[0].Network
	}
	var list []api.Endpoint
	for _, name := range c.networkNames() {
		switch name {
		case c.spec.NetworkMode:
		case primary:
			list = slices.Insert(list, 0, c.endpoints[name].config)
		default:
			list = append(list, c.endpoints[name].config)
		}
	}
	c.spec.Endpoints = list
}

func (c *container) networkNames() []string { return slices.Sorted(maps.Keys(c.endpoints)) }

// findNetwork looks a network up by id or name.
func (f *Fake) findNetwork(object string) *network {
	if n := f.networks[object]; n != nil {
		return n
	}
	return f.networkNamed(object)
}

func (f *Fake) networkNamed(name string) *network {
	var found *network
	for _, n := range f.networks {
		if n.spec.Name == name && (found == nil || strings.Compare(n.id, found.id) < 0) {
			found = n
		}
	}
	return found
}

func (f *Fake) emitNetwork(n *network, action string) {
	f.emit(engine.Event{Type: "network", Action: action, ID: n.id, Attributes: map[string]string{"name": n.spec.Name, "type": n.spec.Driver}})
}

func (f *Fake) emitEndpoint(c *container, name, action string) {
	id := c.endpoints[name].netID
	f.emit(engine.Event{Type: "network", Action: action, ID: id, Attributes: map[string]string{"name": name, "container": c.id}})
}
