package wire

import (
	"net"
	"net/netip"
	"sync"
)

// door counts connections. Those that proved nothing have places of their own, so that
// strangers can't keep nodes out.
type door struct {
	limits PortLimits

	mu       sync.Mutex
	all      int
	unproven int
	perAddr  map[netip.Addr]int
}

func newDoor(limits PortLimits) *door {
	return &door{limits: limits, perAddr: map[netip.Addr]int{}}
}

// enter gives a connection a place, or says that there is none.
func (d *door) enter(conn net.Conn) (*guest, bool) {
	addr := network(conn.RemoteAddr())
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all >= d.limits.Connections || d.unproven >= d.limits.Unproven || d.perAddr[addr] >= d.limits.UnprovenPerAddr {
		return nil, false
	}
	d.all++
	d.unproven++
	d.perAddr[addr]++
	return &guest{Conn: conn, door: d, addr: addr}, true
}

// network is what strangers can't have many of: an IPv4 address, or a /64 of IPv6.
func network(addr net.Addr) netip.Addr {
	parsed, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Addr{}
	}
	ip := parsed.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return netip.Addr{}
	}
	return prefix.Addr()
}

// guest is a connection with a place.
type guest struct {
	net.Conn
	door   *door
	addr   netip.Addr
	proven bool
	gone   bool
}

// prove gives the place of the unproven back.
func (g *guest) prove() {
	g.door.mu.Lock()
	defer g.door.mu.Unlock()
	if !g.proven && !g.gone {
		g.forget()
	}
	g.proven = true
}

// forget is called with the door's lock.
func (g *guest) forget() {
	g.door.unproven--
	g.door.perAddr[g.addr]--
	if g.door.perAddr[g.addr] == 0 {
		delete(g.door.perAddr, g.addr)
	}
}

// Close closes the connection and gives its place back.
func (g *guest) Close() error {
	g.door.mu.Lock()
	if !g.gone {
		g.gone = true
		g.door.all--
		if !g.proven {
			g.forget()
		}
	}
	g.door.mu.Unlock()
	return g.Conn.Close()
}
