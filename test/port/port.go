package port

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Reserve gives an address of this machine on which nobody listens, until the test ends: no
// kernel gives its port to who asks for any (Linux begins at 32768, others later), and who calls
// Reserve in whatever process does not get it, for its UDP port is taken.
func Reserve(t testing.TB) (address string) {
	t.Helper()
	const first, last = 20000, 32000
	for range 1000 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(last-first))) //nolint:gosec // any will do
		mark, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", address)
		if err != nil {
			continue
		}
		tried, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		if err != nil { // somebody has always been there
			_ = mark.Close()
			continue
		}
		_ = tried.Close()
		t.Cleanup(func() { _ = mark.Close() })
		return address
	}
	t.Fatal("no port is free")
	return ""
}
