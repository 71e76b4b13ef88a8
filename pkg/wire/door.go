package wire

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
)

// door counts connections so that strangers can't keep nodes out: who is in the handshake,
// who came through it without a certificate, and all.
type door struct {
	limits PortLimits

	mu  sync.Mutex
	all int
	// shaking are in the handshake, the oldest first.
	shaking   *list.List
	strangers int
	perAddr   map[netip.Addr]int
}

func newDoor(limits PortLimits) *door {
	return &door{limits: limits, shaking: list.New(), perAddr: map[netip.Addr]int{}}
}

// enter lets a connection begin its handshake, or says that there is no place. If too many
// are at it, the one that takes longest has to go: an honest handshake takes milliseconds.
func (d *door) enter(conn net.Conn) (*guest, bool) {
	g, oldest := d.place(conn)
	if oldest != nil {
		_ = oldest.Close()
	}
	return g, g != nil
}

func (d *door) place(conn net.Conn) (g, oldest *guest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all >= d.limits.Connections {
		return nil, nil
	}
	if first := d.shaking.Front(); first != nil && d.shaking.Len() >= d.limits.Handshakes {
		oldest, _ = first.Value.(*guest)
	}
	d.all++
	g = &guest{Conn: conn, door: d, addr: network(conn.RemoteAddr())}
	g.shaking = d.shaking.PushBack(g)
	return g, oldest
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

// guest is a connection with a place. Its fields are guarded by the door's lock.
type guest struct {
	net.Conn
	door     *door
	addr     netip.Addr
	shaking  *list.Element // nil after the handshake
	stranger bool
	gone     bool
}

// prove ends the handshake of a peer with a certificate.
func (g *guest) prove() bool {
	g.door.mu.Lock()
	defer g.door.mu.Unlock()
	g.settle()
	return !g.gone
}

// admit ends the handshake of a peer without a certificate; it tells whether there is a
// place for it.
func (g *guest) admit() bool {
	d := g.door
	d.mu.Lock()
	defer d.mu.Unlock()
	g.settle()
	if g.gone || d.strangers >= d.limits.Strangers || d.perAddr[g.addr] >= d.limits.StrangersPerAddr {
		return false
	}
	g.stranger = true
	d.strangers++
	d.perAddr[g.addr]++
	return true
}

func (g *guest) settle() {
	if g.shaking != nil {
		g.door.shaking.Remove(g.shaking)
		g.shaking = nil
	}
}

// Close closes the connection and gives its place back.
func (g *guest) Close() error {
	g.leave()
	return g.Conn.Close()
}

func (g *guest) leave() {
	d := g.door
	d.mu.Lock()
	defer d.mu.Unlock()
	if g.gone {
		return
	}
	g.gone = true
	d.all--
	g.settle()
	if !g.stranger {
		return
	}
	d.strangers--
	d.perAddr[g.addr]--
	if d.perAddr[g.addr] == 0 {
		delete(d.perAddr, g.addr)
	}
}
