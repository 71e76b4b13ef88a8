package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"ktrdr.io/fleet/pkg/api"
)

// InspectNetwork reads one network by id; ErrNotFound when it is gone.
// Engine API: GET /networks/{id}.
func (c *Client) InspectNetwork(ctx context.Context, id string) (*api.Network, error) {
	var read *api.Network
	err := c.do(ctx, call{op: "inspect network", object: id, limit: c.cfg.Query}, func(ctx context.Context, s *session) error {
		result, err := s.cli.NetworkInspect(ctx, id, client.NetworkInspectOptions{})
		if err != nil {
			return err
		}
		read = readNetwork(result.Network.Network)
		return nil
	})
	return read, err
}

func (c *Client) listNetworks(ctx context.Context) ([]*api.Network, error) {
	var list []*api.Network
	err := c.do(ctx, call{op: "list networks", object: "of " + c.cfg.Host, limit: c.cfg.Query}, func(ctx context.Context, s *session) error {
		result, err := s.cli.NetworkList(ctx, client.NetworkListOptions{})
		if err != nil {
			return err
		}
		for _, item := range result.Items {
			list = append(list, readNetwork(item.Network))
		}
		return nil
	})
	return list, err
}

// readNetwork maps a network; EnableIPv4 is left out because engines before API 1.48
// don't tell it.
func readNetwork(n network.Network) *api.Network {
	spec := api.NetworkSpec{
		Name: n.Name, Driver: n.Driver, DriverOpts: n.Options,
		Internal: n.Internal, Attachable: n.Attachable, Labels: n.Labels,
	}
	if n.EnableIPv6 {
		spec.EnableIPv6 = &n.EnableIPv6
	}
	ipam := api.IPAM{Driver: n.IPAM.Driver, Options: n.IPAM.Options}
	for _, pool := range n.IPAM.Config {
		read := api.IPAMPool{Subnet: prefixText(pool.Subnet), IPRange: prefixText(pool.IPRange), Gateway: addressText(pool.Gateway)}
		for name, address := range pool.AuxAddress {
			if read.AuxAddresses == nil {
				read.AuxAddresses = map[string]string{}
			}
			read.AuxAddresses[name] = addressText(address)
		}
		ipam.Config = append(ipam.Config, read)
	}
	spec.IPAM = &ipam
	return &api.Network{ID: n.ID, Name: n.Name, Driver: n.Driver, Labels: n.Labels, Spec: spec}
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// CreateNetwork creates a network and returns its id; labels win over the spec's. A
// network of that name that carries the same labels is taken as created before; any
// other one is ErrConflict with ReasonForeign. Engines before 25 would make a second
// network of the same name, so the name is looked up first.
// Engine API: POST /networks/create.
func (c *Client) CreateNetwork(ctx context.Context, spec api.NetworkSpec, labels map[string]string) (string, error) {
	var id string
	what := call{op: "create network", object: spec.Name, limit: c.cfg.Change}
	err := c.do(ctx, what, func(ctx context.Context, s *session) error {
		options, err := networkOptions(s, spec, labels)
		if err != nil {
			return err
		}
		if id, err = s.existingNetwork(ctx, spec.Name, labels); err != nil || id != "" {
			return err
		}
		result, err := s.cli.NetworkCreate(ctx, spec.Name, options)
		id = result.ID
		return err
	})
	return id, err
}

func (s *session) existingNetwork(ctx context.Context, name string, labels map[string]string) (string, error) {
	result, err := s.cli.NetworkList(ctx, client.NetworkListOptions{Filters: client.Filters{}.Add("name", name)})
	if err != nil {
		return "", err
	}
	for _, item := range result.Items {
		if item.Name != name {
			// The filter matches parts of names.
			continue
		}
		if !carries(item.Labels, labels) {
			return "", &Error{
				Op: "create network", Object: name, Class: api.Waiting, Reason: api.ReasonForeign,
				Err: fmt.Errorf("%w: network %s exists and is not ours", ErrConflict, item.ID),
			}
		}
		return item.ID, nil
	}
	return "", nil
}

// carries tells whether labels holds all identifying ones of want: which stack and which
// key of it the object belongs to.
func carries(labels, want map[string]string) bool {
	for _, key := range []string{api.LabelStack, api.LabelProject, api.LabelNetwork, api.LabelVolume} {
		if value, ok := want[key]; ok && labels[key] != value {
			return false
		}
	}
	return true
}

func networkOptions(s *session, spec api.NetworkSpec, labels map[string]string) (client.NetworkCreateOptions, error) {
	if spec.EnableIPv4 != nil && !s.atLeast("1.48") {
		return client.NetworkCreateOptions{}, &unsupportedError{attribute: "enable_ipv4", needs: "1.48", has: s.version}
	}
	options := client.NetworkCreateOptions{
		Driver: spec.Driver, Options: spec.DriverOpts, Internal: spec.Internal, Attachable: spec.Attachable,
		EnableIPv4: spec.EnableIPv4, EnableIPv6: spec.EnableIPv6, Labels: mergeLabels(spec.Labels, labels),
	}
	if spec.IPAM == nil || (spec.IPAM.Driver == "" && len(spec.IPAM.Config) == 0 && len(spec.IPAM.Options) == 0) {
		return options, nil
	}
	options.IPAM = &network.IPAM{Driver: spec.IPAM.Driver, Options: spec.IPAM.Options}
	for i, pool := range spec.IPAM.Config {
		config, err := ipamConfig(pool)
		if err != nil {
			return options, invalidf("ipam.config[%d]: %w", i, err)
		}
		options.IPAM.Config = append(options.IPAM.Config, config)
	}
	return options, nil
}

func ipamConfig(pool api.IPAMPool) (network.IPAMConfig, error) {
	var config network.IPAMConfig
	var errs []error
	parsePrefix := func(text string, into *netip.Prefix) {
		if text != "" {
			var err error
			*into, err = netip.ParsePrefix(text)
			errs = append(errs, err)
		}
	}
	parsePrefix(pool.Subnet, &config.Subnet)
	parsePrefix(pool.IPRange, &config.IPRange)
	var err error
	config.Gateway, err = parseAddress(pool.Gateway)
	errs = append(errs, err)
	for _, name := range slices.Sorted(maps.Keys(pool.AuxAddresses)) {
		address, err := parseAddress(pool.AuxAddresses[name])
		errs = append(errs, err)
		if config.AuxAddress == nil {
			config.AuxAddress = map[string]netip.Addr{}
		}
		config.AuxAddress[name] = address
	}
	return config, errors.Join(errs...)
}

// parseAddress reads an IP address; empty is the zero address.
func parseAddress(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	return netip.ParseAddr(text)
}

func mergeLabels(base, over map[string]string) map[string]string {
	merged := make(map[string]string, len(base)+len(over))
	maps.Copy(merged, base)
	maps.Copy(merged, over)
	return merged
}

// RemoveNetwork removes a network; one that is gone is success, one with endpoints is
// ErrConflict. Engine API: DELETE /networks/{id}.
func (c *Client) RemoveNetwork(ctx context.Context, id string) error {
	return c.do(ctx, call{op: "remove network", object: id, limit: c.cfg.Change}, func(ctx context.Context, s *session) error {
		_, err := s.cli.NetworkRemove(ctx, id, client.NetworkRemoveOptions{})
		return unlessGone(err)
	})
}

// Connect attaches a container to a network with aliases and static addresses. A
// container that is connected already is left as it is.
// Engine API: POST /networks/{id}/connect.
func (c *Client) Connect(ctx context.Context, req ConnectRequest) error {
	what := call{op: "connect network", object: req.Endpoint.Network + " to " + req.ContainerID, limit: c.cfg.Change}
	return c.do(ctx, what, func(ctx context.Context, s *session) error {
		// An endpoint that is connected later is never the one that Config.MacAddress is for.
		if err := checkSupport(s, api.ContainerSpec{Endpoints: []api.Endpoint{{}, req.Endpoint}}); err != nil {
			return err
		}
		settings, err := endpointSettings(s, req.Endpoint, nil)
		if err != nil {
			return err
		}
		return s.connect(ctx, req.NetworkID, req.ContainerID, settings)
	})
}

func (s *session) connect(ctx context.Context, networkID, containerID string, settings *network.EndpointSettings) error {
	_, err := s.cli.NetworkConnect(ctx, networkID, client.NetworkConnectOptions{Container: containerID, EndpointConfig: settings})
	if err == nil || strings.Contains(err.Error(), "already exists in network") {
		return nil
	}
	if strings.Contains(err.Error(), "already attached to network") || strings.Contains(err.Error(), "already connected") {
		return nil
	}
	return err
}

// Disconnect detaches a container from a network, by force; where either is gone or they
// are not connected, that is success. Engine API: POST /networks/{id}/disconnect.
func (c *Client) Disconnect(ctx context.Context, networkID, containerID string) error {
	what := call{op: "disconnect network", object: networkID + " from " + containerID, limit: c.cfg.Change}
	return c.do(ctx, what, func(ctx context.Context, s *session) error {
		_, err := s.cli.NetworkDisconnect(ctx, networkID, client.NetworkDisconnectOptions{Container: containerID, Force: true})
		if err != nil && strings.Contains(err.Error(), "is not connected to") {
			return nil
		}
		return unlessGone(err)
	})
}
