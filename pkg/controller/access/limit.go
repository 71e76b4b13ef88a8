package access

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits bound what each address may try without a valid proof: Burst tries at once, and
// one more after each Pause.
type Limits struct {
	Burst int
	Pause time.Duration
}

// DefaultLimits let a rack of nodes behind one address join at once.
func DefaultLimits() Limits { return Limits{Burst: 60, Pause: time.Second} }

// maxPeers is how many addresses are remembered; the others share one bucket.
const maxPeers = 10_000

// limiter counts tries of strangers by address (IPv6: by /64 network).
type limiter struct {
	limits Limits
	now    func() time.Time

	mu      sync.Mutex
	buckets map[netip.Addr]*bucket
	others  bucket
}

// bucket holds tries. full is when all of them are there (again); a try moves that by one
// pause.
type bucket struct{ full time.Time }

func newLimiter(l Limits, now func() time.Time) *limiter {
	return &limiter{limits: l, now: now, buckets: map[netip.Addr]*bucket{}}
}

// exhausted tells whether the address has no try left. It takes none.
func (l *limiter) exhausted(from string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[network(from)]
	if !ok {
		b = &l.others
		if len(l.buckets) < maxPeers {
			return false
		}
	}
	return b.full.Sub(l.now()) > l.limits.Pause*time.Duration(l.limits.Burst-1)
}

// take takes a try of the address; it tells whether there was one.
func (l *limiter) take(from string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	b := l.bucket(network(from), now)
	if b.full.Before(now) {
		b.full = now
	}
	if b.full.Sub(now) > l.limits.Pause*time.Duration(l.limits.Burst-1) {
		return false
	}
	b.full = b.full.Add(l.limits.Pause)
	return true
}

func (l *limiter) bucket(addr netip.Addr, now time.Time) *bucket {
	if b, ok := l.buckets[addr]; ok {
		return b
	}
	if len(l.buckets) >= maxPeers {
		l.forget(now)
	}
	if len(l.buckets) >= maxPeers {
		return &l.others
	}
	b := &bucket{}
	l.buckets[addr] = b
	return b
}

// forget drops buckets that are full again.
func (l *limiter) forget(now time.Time) {
	for addr, b := range l.buckets {
		if !b.full.After(now) {
			delete(l.buckets, addr)
		}
	}
}

func network(from string) netip.Addr {
	host, _, err := net.SplitHostPort(from)
	if err != nil {
		host = from
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr
	}
	prefix, err := addr.Prefix(64)
	if err != nil {
		return netip.Addr{}
	}
	return prefix.Addr()
}
