package engine

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"ktrdr.io/fleet/pkg/api"
)

// ifnameOption is the driver option that Compose's interface_name becomes.
const ifnameOption = "com.docker.network.endpoint.ifname"

// readNetworking fills NetworkMode, Endpoints, Links and MacAddress.
func readNetworking(spec *api.ContainerSpec, raw container.InspectResponse, mac string) {
	mode := string(raw.HostConfig.NetworkMode)
	primary := ""
	switch {
	case raw.Config.NetworkDisabled:
		spec.NetworkMode = "disabled"
	case mode == network.NetworkDefault || mode == "":
		spec.NetworkMode = network.NetworkBridge
	case raw.HostConfig.NetworkMode.IsUserDefined():
		primary = mode
	default:
		spec.NetworkMode = mode
	}
	for _, link := range raw.HostConfig.Links {
		spec.Links = append(spec.Links, readLink(link))
	}
	if raw.NetworkSettings == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(raw.NetworkSettings.Networks)) {
		endpoint := raw.NetworkSettings.Networks[name]
		if endpoint == nil || name == spec.NetworkMode {
			continue
		}
		isPrimary := name == primary || (primary != "" && endpoint.NetworkID == primary)
		read := readEndpoint(raw.ID, name, endpoint)
		if isPrimary {
			if mac != "" {
				read.MacAddress = strings.ToLower(mac)
			}
			spec.Endpoints = slices.Insert(spec.Endpoints, 0, read)
		} else {
			spec.Endpoints = append(spec.Endpoints, read)
		}
		for _, link := range endpoint.Links {
			spec.Links = append(spec.Links, readLink(link))
		}
	}
	if primary == "" && mac != "" {
		spec.MacAddress = strings.ToLower(mac)
	}
	slices.Sort(spec.Links)
	spec.Links = slices.Compact(spec.Links)
}

// readLink turns the engine's "/target:/self/alias" into "target:alias".
func readLink(link string) string {
	target, alias, _ := strings.Cut(link, ":")
	if at := strings.LastIndexByte(alias, '/'); at >= 0 {
		alias = alias[at+1:]
	}
	return strings.TrimPrefix(target, "/") + ":" + alias
}

// readEndpoint reads what was configured. Aliases come without the container's short id,
// which the engine adds, and a MAC address without the one it derives from the address.
func readEndpoint(containerID, name string, endpoint *network.EndpointSettings) api.Endpoint {
	read := api.Endpoint{
		Network:    name,
		Aliases:    readAliases(containerID, endpoint.Aliases),
		DriverOpts: maps.Clone(endpoint.DriverOpts),
		GwPriority: endpoint.GwPriority,
		MacAddress: configuredMAC(endpoint),
	}
	if ipam := endpoint.IPAMConfig; ipam != nil {
		if ipam.IPv4Address.IsValid() {
			read.IPv4Address = ipam.IPv4Address.String()
		}
		if ipam.IPv6Address.IsValid() {
			read.IPv6Address = ipam.IPv6Address.String()
		}
		for _, address := range ipam.LinkLocalIPs {
			read.LinkLocalIPs = append(read.LinkLocalIPs, address.String())
		}
	}
	if ifname, ok := read.DriverOpts[ifnameOption]; ok {
		read.InterfaceName = ifname
		delete(read.DriverOpts, ifnameOption)
	}
	if len(read.DriverOpts) == 0 {
		read.DriverOpts = nil
	}
	return read
}

func readAliases(containerID string, aliases []string) []string {
	var read []string
	for _, alias := range aliases {
		own := len(alias) == 12 && strings.HasPrefix(containerID, alias)
		if !own && !slices.Contains(read, alias) {
			read = append(read, alias)
		}
	}
	return read
}

// configuredMAC leaves out "02:42:" and the IPv4 address, which engines before 28 make
// up. The random address of newer ones can't be told from a configured one and stays;
// plan.Diff looks at it only when an address is wanted.
func configuredMAC(endpoint *network.EndpointSettings) string {
	mac := endpoint.MacAddress.String()
	if endpoint.IPAddress.Is4() {
		ip := endpoint.IPAddress.As4()
		if mac == fmt.Sprintf("02:42:%02x:%02x:%02x:%02x", ip[0], ip[1], ip[2], ip[3]) {
			return ""
		}
	}
	return mac
}

// readAttachments keys the live connections by network id. Before its first start a
// container's endpoints may have no id yet: these are keyed by name until
// ResolveNetworks.
func readAttachments(raw container.InspectResponse) map[string]api.Attachment {
	attached := map[string]api.Attachment{}
	if raw.NetworkSettings == nil {
		return attached
	}
	for name, endpoint := range raw.NetworkSettings.Networks {
		if endpoint == nil {
			continue
		}
		configured := readEndpoint(raw.ID, name, endpoint)
		live := api.Attachment{
			Name: name, Aliases: configured.Aliases,
			IPv4: configured.IPv4Address, IPv6: configured.IPv6Address,
			Mac: endpoint.MacAddress.String(),
		}
		if endpoint.IPAddress.IsValid() {
			live.Address = endpoint.IPAddress.String()
		}
		id := endpoint.NetworkID
		if id == "" {
			id = name
		}
		attached[id] = live
	}
	return attached
}

// ResolveNetworks replaces the names of networks in Attached by ids: a container that was
// never started joins whatever network has the name at its start. It drops attachments to
// networks that don't exist; of several with one name it takes the smallest id.
func ResolveNetworks(read *api.Container, networks iter.Seq[*api.Network]) {
	for key, live := range maps.Clone(read.Attached) {
		if key != live.Name {
			continue
		}
		delete(read.Attached, key)
		id := ""
		for n := range networks {
			if n.Name == live.Name && (id == "" || n.ID < id) {
				id = n.ID
			}
		}
		if id != "" {
			read.Attached[id] = live
		}
	}
}
