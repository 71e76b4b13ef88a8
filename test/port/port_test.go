package port_test

import (
	"net"
	"testing"

	"ktrdr.io/fleet/test/port"
)

// TestReserve: all addresses differ though nobody listens yet, and anybody can listen.
func TestReserve(t *testing.T) {
	seen := map[string]bool{}
	for range 500 {
		address := port.Reserve(t)
		if seen[address] {
			t.Fatalf("%s was given twice", address)
		}
		seen[address] = true
	}
	for address := range seen {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
