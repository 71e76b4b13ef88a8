package compose

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// ports maps published ports in the order of the file.
func (m *mapper) ports(s *types.ServiceConfig) []api.Port {
	var out []api.Port
	for i, port := range s.Ports {
		path := m.portPath(s, i)
		protocol := strings.ToLower(cmp.Or(port.Protocol, "tcp"))
		if !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
			m.found.errorf(path, "protocol %q is not tcp, udp or sctp", port.Protocol)
		}
		if port.Target == 0 || port.Target > 65535 {
			m.found.errorf(path, "target %d is not a port", port.Target)
			continue
		}
		if _, _, err := portRange(port.Published); port.Published != "" && err != nil {
			m.found.errorf(path, "published %q: %v", port.Published, err)
		}
		m.address(path, port.HostIP)
		out = append(out, api.Port{
			HostIP: port.HostIP, Published: port.Published, Target: uint16(port.Target), Protocol: protocol,
		})
	}
	return out
}

// portPath finds the entry in the file that made the i-th port. A range makes several
// ports of one entry; then only the list is sure.
func (m *mapper) portPath(s *types.ServiceConfig, i int) string {
	path := at(s.Name) + ".ports"
	if m.known(yamlpos.Item(path, len(s.Ports)-1)) && !m.known(yamlpos.Item(path, len(s.Ports))) {
		return yamlpos.Item(path, i)
	}
	return path
}

// portRange reads "80" and "8000-8010".
func portRange(s string) (first, last int, err error) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	if first, err = strconv.Atoi(from); err == nil {
		last, err = strconv.Atoi(to)
	}
	if err != nil || first < 0 || last > 65535 || last < first {
		return 0, 0, fmt.Errorf("%q is neither a port nor a range of ports", s)
	}
	return first, last, nil
}

// expose lists the ports of expose and the targets of ports as "80/tcp", sorted.
func (m *mapper) expose(s *types.ServiceConfig) []string {
	set := map[string]bool{}
	for _, port := range s.Ports {
		set[fmt.Sprintf("%d/%s", port.Target, strings.ToLower(cmp.Or(port.Protocol, "tcp")))] = true
	}
	for i, entry := range s.Expose {
		ports, protocol, found := strings.Cut(entry, "/")
		if !found {
			protocol = "tcp"
		}
		first, last, err := portRange(ports)
		if err != nil {
			m.found.errorf(fmt.Sprintf("%s.expose[%d]", at(s.Name), i), "%v", err)
			continue
		}
		for port := first; port <= last; port++ {
			set[strconv.Itoa(port)+"/"+strings.ToLower(protocol)] = true
		}
	}
	out := make([]string, 0, len(set))
	for port := range set {
		out = append(out, port)
	}
	slices.Sort(out)
	return items(out)
}

// claim is one use of a host port by one container.
type claim struct {
	path    string
	replica string
	ip      netip.Addr
	first   int
	last    int
	proto   string
	// flexible claims take any one port of a range.
	flexible bool
}

// checkHostPorts refuses what two containers of the project can't both have. A range for
// a single target is taken by whoever finds a free port in it, so it clashes only where
// nothing can be free.
func (m *mapper) checkHostPorts(services []api.Service) {
	var claims []claim
	for _, s := range services {
		model := m.model.Services[s.Name]
		for _, r := range s.Replicas {
			for i, port := range r.Spec.Ports {
				c, ok := claimOf(port)
				if !ok {
					continue
				}
				c.path, c.replica = m.portPath(&model, i), r.Name
				m.clash(claims, c)
				claims = append(claims, c)
			}
		}
	}
}

func claimOf(port api.Port) (claim, bool) {
	first, last, err := portRange(port.Published)
	if err != nil || first == 0 {
		return claim{}, false // ephemeral, or reported already
	}
	ip, err := netip.ParseAddr(port.HostIP)
	if err != nil {
		ip = netip.Addr{}
	}
	return claim{ip: ip, first: first, last: last, proto: port.Protocol, flexible: last > first}, true
}

func (m *mapper) clash(claims []claim, c claim) {
	if c.flexible {
		return
	}
	for _, other := range claims {
		if other.flexible || other.proto != c.proto || other.first != c.first || !sameHost(other.ip, c.ip) {
			continue
		}
		m.found.errorf(c.path, "host port %d/%s of container %s is already published by container %s (%s)",
			c.first, c.proto, c.replica, other.replica, other.path)
		return
	}
}

// sameHost tells whether two addresses can't be bound to one port at once: equal ones,
// and an unspecified one with any of its family.
func sameHost(a, b netip.Addr) bool {
	if !a.IsValid() || !b.IsValid() || a == b {
		return true
	}
	return a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}
