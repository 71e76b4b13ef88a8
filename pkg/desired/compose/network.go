package compose

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// endpoints attaches a replica to its networks, the primary one first: highest priority,
// then by key. Aliases are container name, service name, the user's own.
// Source: docker/compose createEndpointSettings.
func (m *mapper) endpoints(s *types.ServiceConfig, container string) []api.Endpoint {
	if s.NetworkMode != "" {
		return nil
	}
	var out []api.Endpoint
	for _, key := range s.NetworksByPriority() {
		config := s.Networks[key]
		endpoint := api.Endpoint{Network: m.model.Networks[key].Name, Aliases: []string{container}}
		if config.ServiceNameAliasEnabled() {
			endpoint.Aliases = append(endpoint.Aliases, s.Name)
		}
		if config != nil {
			m.endpoint(at(s.Name)+".networks."+key, config, &endpoint)
		}
		out = append(out, endpoint)
	}
	return out
}

func (m *mapper) endpoint(path string, config *types.ServiceNetworkConfig, out *api.Endpoint) {
	out.Aliases = append(out.Aliases, config.Aliases...)
	out.IPv4Address = m.address(path+".ipv4_address", config.Ipv4Address)
	out.IPv6Address = m.address(path+".ipv6_address", config.Ipv6Address)
	for i, link := range config.LinkLocalIPs {
		if link != "" {
			out.LinkLocalIPs = append(out.LinkLocalIPs, m.address(path+".link_local_ips["+strconv.Itoa(i)+"]", link))
		}
	}
	out.MacAddress = m.mac(path+".mac_address", config.MacAddress)
	out.DriverOpts = texts(config.DriverOpts)
	out.GwPriority = config.GatewayPriority
	out.InterfaceName = config.InterfaceName
	const ifname = "com.docker.network.endpoint.ifname"
	if name, ok := config.DriverOpts[ifname]; ok && config.InterfaceName != "" && name != config.InterfaceName {
		m.found.errorf(path+".interface_name", "is %q but driver_opts say %q: remove one of them", config.InterfaceName, name)
	}
}

func (m *mapper) address(path, address string) string {
	if address == "" {
		return ""
	}
	if _, err := netip.ParseAddr(address); err != nil {
		m.found.errorf(path, "%q is not an IP address", address)
	}
	return address
}

func (m *mapper) mac(path, address string) string {
	if address == "" {
		return ""
	}
	if _, err := net.ParseMAC(address); err != nil {
		m.found.errorf(path, "%q is not a MAC address", address)
	}
	return address
}

// dns needs addresses: Compose sends nothing else to the engine.
func (m *mapper) dns(s *types.ServiceConfig) []string {
	for i, server := range s.DNS {
		path := at(s.Name) + ".dns"
		if indexed := path + "[" + strconv.Itoa(i) + "]"; m.known(indexed) {
			path = indexed
		}
		m.address(path, server)
	}
	return items(s.DNS)
}

// known tells whether some file has the path as it is written.
func (m *mapper) known(path string) bool {
	return slices.ContainsFunc(m.found.indexes, func(x *yamlpos.Index) bool { return x.Has(path) })
}

func extraHosts(s *types.ServiceConfig) []string {
	hosts := s.ExtraHosts.AsList(":")
	slices.Sort(hosts)
	return items(hosts)
}

// links names services as "service:alias".
func (m *mapper) links(s *types.ServiceConfig) []string {
	var out []string
	for i, link := range s.Links {
		service, alias, found := strings.Cut(link, ":")
		if !found {
			alias = service
		}
		if _, ok := m.model.Services[service]; !ok {
			m.found.errorf(fmt.Sprintf("%s.links[%d]", at(s.Name), i), "service %q %s", service, m.absence(service))
		}
		out = append(out, service+":"+alias)
	}
	return out
}

// absence says why a service can't be referred to.
func (m *mapper) absence(service string) string {
	if _, ok := m.model.DisabledServices[service]; ok {
		return "is off by its profiles"
	}
	return "is not defined"
}

// externalLinks names containers as "container:alias".
func externalLinks(s *types.ServiceConfig) []string {
	var out []string
	for _, link := range s.ExternalLinks {
		container, alias, found := strings.Cut(link, ":")
		if !found {
			alias = container
		}
		out = append(out, container+":"+alias)
	}
	return out
}

// onlyNamed is about what we neither make nor change.
const onlyNamed = "is external: only its name is used, the other attributes have no effect"

// networks maps the networks that enabled services use.
func (m *mapper) networks() []api.NetworkSpec {
	var out []api.NetworkSpec
	for _, key := range m.used(func(s types.ServiceConfig) []string { return slices.Collect(maps.Keys(s.Networks)) }) {
		config, ok := m.model.Networks[key]
		if !ok {
			continue // reported by checkService
		}
		out = append(out, m.network(key, config))
	}
	return out
}

func (m *mapper) network(key string, config types.NetworkConfig) api.NetworkSpec {
	path := "networks." + key
	m.plainName(path+".name", config.Name)
	spec := api.NetworkSpec{Key: key, Name: config.Name, External: bool(config.External)}
	if config.External {
		plain := types.NetworkConfig{Name: config.Name, External: config.External, Extensions: config.Extensions}
		if !reflect.DeepEqual(plain, config) {
			m.found.warnf(path, onlyNamed)
		}
		return spec
	}
	spec.Driver, spec.DriverOpts = config.Driver, texts(config.DriverOpts)
	spec.Internal, spec.Attachable = config.Internal, config.Attachable
	spec.EnableIPv4, spec.EnableIPv6 = config.EnableIPv4, config.EnableIPv6
	spec.Labels = texts(config.Labels)
	spec.IPAM = m.ipam(path+".ipam", config.Ipam)
	return spec
}

func (m *mapper) ipam(path string, config types.IPAMConfig) *api.IPAM {
	if config.Driver == "" && len(config.Config) == 0 && len(config.Options) == 0 {
		return nil
	}
	out := &api.IPAM{Driver: config.Driver, Options: texts(config.Options)}
	for i, pool := range config.Config {
		if pool == nil {
			continue
		}
		at := fmt.Sprintf("%s.config[%d]", path, i)
		for _, name := range slices.Sorted(maps.Keys(pool.AuxiliaryAddresses)) {
			m.address(at+".aux_addresses."+name, pool.AuxiliaryAddresses[name])
		}
		out.Config = append(out.Config, api.IPAMPool{
			Subnet: m.prefix(at+".subnet", pool.Subnet), IPRange: m.prefix(at+".ip_range", pool.IPRange),
			Gateway: m.address(at+".gateway", pool.Gateway), AuxAddresses: texts(pool.AuxiliaryAddresses),
		})
	}
	return out
}

func (m *mapper) prefix(path, prefix string) string {
	if prefix == "" {
		return ""
	}
	if _, err := netip.ParsePrefix(prefix); err != nil {
		m.found.errorf(path, "%q is not an address range such as 172.20.0.0/16", prefix)
	}
	return prefix
}
