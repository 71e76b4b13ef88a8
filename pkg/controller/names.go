package controller

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// reachable are the names and addresses by which this controller is reached.
func (c *Config) reachable() (names []string, ips []netip.Addr, err error) {
	names, ips = c.Names, c.IPs
	if len(names)+len(ips) > 0 {
		return names, ips, nil
	}
	if host, err := os.Hostname(); err == nil && hostName.MatchString(host) {
		names = append(names, host)
	}
	if !slices.Contains(names, "localhost") {
		names = append(names, "localhost")
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, nil, fmt.Errorf("find the addresses of this machine (set names and ips instead): %w", err)
	}
	for _, addr := range addrs {
		if prefix, err := netip.ParsePrefix(addr.String()); err == nil && !prefix.Addr().IsLinkLocalUnicast() {
			ips = append(ips, prefix.Addr().Unmap())
		}
	}
	return names, ips, nil
}

// address is where this controller is reached.
func (c *Config) address(names []string, ips []netip.Addr) string {
	switch {
	case c.Address != "":
		return c.Address
	case len(names) > 0:
		return net.JoinHostPort(names[0], c.port())
	}
	return net.JoinHostPort(ips[0].String(), c.port())
}

// endpoints are what agents are told.
func (c *Config) endpoints(names []string, ips []netip.Addr) []string {
	if len(c.Advertise) > 0 {
		return c.Advertise
	}
	return []string{c.address(names, ips)}
}

// port is the one of Listen.
func (c *Config) port() string {
	_, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return defaultPort
	}
	return port
}

var controllerID = regexp.MustCompile(`^[A-Za-z0-9.-]{1,80}$`)

// id is this controller's, the same for as long as its state folder lives.
func (c *Config) id() (string, error) {
	path := filepath.Join(c.StateDir, "id")
	data, err := os.ReadFile(path) //nolint:gosec // the controller's own file
	id := strings.TrimSpace(string(data))
	switch {
	case err == nil && controllerID.MatchString(id):
		return id, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read the controller's id: %w", err)
	}
	host, err := os.Hostname()
	if err != nil || !hostName.MatchString(host) {
		host = "controller"
	}
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	id = host[:min(len(host), 60)] + "-" + hex.EncodeToString(random[:])
	if err := os.WriteFile(path, []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write the controller's id: %w", err)
	}
	return id, nil
}
