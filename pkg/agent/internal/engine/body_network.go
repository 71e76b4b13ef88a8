package engine

import (
	"errors"
	"fmt"
	"maps"
	"net"

	"github.com/moby/moby/api/types/network"

	"ktrdr.io/fleet/pkg/api"
)

// networkMode is the mode of HostConfig: what the spec says, else the name of the first
// network, else none.
func networkMode(spec api.ContainerSpec) string {
	switch {
	case spec.NetworkMode != "":
		return spec.NetworkMode
	case len(spec.Endpoints) > 0:
		return spec.Endpoints[0].Network
	default:
		return network.NetworkNone
	}
}

// networkingConfig holds the endpoints that the engine takes at create: all of them from
// API 1.44 on, the first one before.
func networkingConfig(s *session, spec api.ContainerSpec) (*network.NetworkingConfig, error) {
	if spec.NetworkMode != "" || len(spec.Endpoints) == 0 {
		return nil, nil //nolint:nilnil // no configuration is a valid one
	}
	endpoints := spec.Endpoints
	if !s.atLeast("1.44") {
		endpoints = endpoints[:1]
	}
	config := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}}
	var errs []error
	for i, endpoint := range endpoints {
		if i == 0 && endpoint.MacAddress == "" {
			endpoint.MacAddress = spec.MacAddress
		}
		settings, err := endpointSettings(s, endpoint, linksOf(spec))
		errs = append(errs, err)
		config.EndpointsConfig[endpoint.Network] = settings
	}
	return config, errors.Join(errs...)
}

// endpointSettings maps one endpoint for create and connect.
func endpointSettings(s *session, endpoint api.Endpoint, links []string) (*network.EndpointSettings, error) {
	settings := &network.EndpointSettings{
		Aliases: endpoint.Aliases, Links: links, DriverOpts: maps.Clone(endpoint.DriverOpts),
		GwPriority: endpoint.GwPriority, IPAMConfig: &network.EndpointIPAMConfig{},
	}
	var errs []error
	var err error
	settings.IPAMConfig.IPv4Address, err = parseAddress(endpoint.IPv4Address)
	errs = append(errs, err)
	settings.IPAMConfig.IPv6Address, err = parseAddress(endpoint.IPv6Address)
	errs = append(errs, err)
	for _, text := range endpoint.LinkLocalIPs {
		address, err := parseAddress(text)
		errs = append(errs, err)
		settings.IPAMConfig.LinkLocalIPs = append(settings.IPAMConfig.LinkLocalIPs, address)
	}
	if endpoint.MacAddress != "" {
		mac, err := net.ParseMAC(endpoint.MacAddress)
		errs = append(errs, err)
		if s.atLeast("1.44") {
			settings.MacAddress = network.HardwareAddr(mac)
		}
	}
	if endpoint.InterfaceName != "" {
		if settings.DriverOpts == nil {
			settings.DriverOpts = map[string]string{}
		}
		settings.DriverOpts[ifnameOption] = endpoint.InterfaceName
	}
	if err := errors.Join(errs...); err != nil {
		return nil, &invalidError{fmt.Errorf("network %s: %w", endpoint.Network, err)}
	}
	return settings, nil
}
