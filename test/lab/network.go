package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
)

// Network is an Ethernet of its own for machines, in a network namespace that no cable
// leaves. The test is a host on it: what it listens on there, machines can reach. All on it
// are found by name. Its methods are safe for concurrent use, but for Close.
type Network struct {
	dir    string
	holder *exec.Cmd
	names  *names

	mu    sync.Mutex
	hosts int
}

// Address is the test's own on every network.
const Address = "10.111.0.1"

// NewNetwork makes a network. ctx bounds the making alone.
func NewNetwork(ctx context.Context) (*Network, error) {
	if err := available("nsenter", "unshare", "ip"); err != nil {
		return nil, err
	}
	dir, err := makeDir()
	if err != nil {
		return nil, err
	}
	n := &Network{dir: dir}
	if err := os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte(resolvConf), 0o644); err != nil { //nolint:gosec // as on any system
		return nil, fmt.Errorf("make a network: %w", errors.Join(err, destroy(dir))) //nolint:contextcheck // the end is not bound to the start
	}
	// What runs here asks the network for names, and not whom this machine asks.
	script := "{ [ ! -e /etc/resolv.conf ] || mount --bind " + filepath.Join(dir, "resolv.conf") + " /etc/resolv.conf; } && " +
		"ip link set lo up && echo ready && exec sleep infinity"
	if n.holder, err = hold(dir, script, "--net", "--mount", "--propagation", "private"); err == nil {
		err = n.ip(ctx, [][]string{
			{"link", "add", "br0", "type", "bridge", "forward_delay", "0", "stp_state", "0"},
			{"link", "set", "br0", "address", "02:6c:61:62:00:01"},
			{"addr", "add", Address + "/24", "dev", "br0"},
			{"link", "set", "br0", "up"},
		})
	}
	if err == nil {
		n.names, err = n.serveNames()
	}
	if err != nil {
		return nil, errors.Join(err, n.Close()) //nolint:contextcheck // the end is not bound to the start
	}
	return n, nil
}

// ip runs commands of ip on the network's host.
func (n *Network) ip(ctx context.Context, commands [][]string) error {
	for _, args := range commands {
		if out, err := n.Command(ctx, "ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("make a network: ip %v: %w: %s", args, err, out)
		}
	}
	return nil
}

// namespace is the file of the network's namespace.
func (n *Network) namespace() string { return namespaceOf(n.holder.Process.Pid) }

func namespaceOf(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid), "ns/net") }

// Command prepares a program that has the network as its only one, and finds machines by
// name. It runs in the root folder: its working folder can't be set by Dir.
func (n *Network) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return n.CommandIn(ctx, "/", name, args...)
}

// CommandIn is Command with another working folder.
func (n *Network) CommandIn(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(n.holder.Process.Pid), "--net", "--mount", "--wdns=" + dir, "--", name}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...) //nolint:gosec // tests name the programs
	cmd.Env = append(os.Environ(), envKey+"="+n.dir)
	return cmd
}

// Listen listens on a free port of Address.
func (n *Network) Listen() (net.Listener, error) { return n.ListenOn("0") }

// ListenOn listens on a port of Address.
func (n *Network) ListenOn(port string) (net.Listener, error) {
	return listenIn(n.namespace(), net.JoinHostPort(Address, port))
}

func listenIn(namespace, address string) (listener net.Listener, err error) {
	err = within(namespace, func() (err error) {
		listener, err = net.Listen("tcp", address) //nolint:noctx // returns at once
		return err
	})
	return listener, err
}

// DialContext connects to host:port on the network; the host may be a name. It fits
// http.Transport.
func (n *Network) DialContext(ctx context.Context, kind, address string) (conn net.Conn, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip, known := n.names.find(host); known {
		host = ip.String()
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return nil, fmt.Errorf("%s is not on the network", host)
	}
	err = within(n.namespace(), func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, kind, net.JoinHostPort(host, port))
		return err
	})
	return conn, err
}

// Name gives an address a name of the network. Machines have theirs from the start.
func (n *Network) Name(name string, address netip.Addr) { n.names.set(name, address) }

// plug connects the namespace of a process to the network, under the next free address: by
// a line when there is one.
func (n *Network) plug(ctx context.Context, pid int, line *Line) (*cable, error) {
	n.mu.Lock()
	n.hosts++
	host := 1 + n.hosts
	n.mu.Unlock()
	c := &cable{network: n, line: line, port: fmt.Sprintf("port%d", host), Address: fmt.Sprintf("10.111.0.%d", host)}
	mac := fmt.Sprintf("02:6c:61:62:00:%02x", host) // fixed: stale neighbours swallow what is sent to a reused address
	if line == nil {
		return c, n.ip(ctx, [][]string{
			{"link", "add", c.port, "type", "veth", "peer", "name", "eth0", "address", mac, "netns", strconv.Itoa(pid)},
			{"link", "set", c.port, "master", "br0", "up"},
		})
	}
	if err := line.open(namespaceOf(pid), n.namespace(), c.port); err != nil {
		return c, fmt.Errorf("connect a machine: %w", err)
	}
	return c, errors.Join(
		ipIn(ctx, pid, "link", "set", "eth0", "address", mac),
		n.ip(ctx, [][]string{{"link", "set", c.port, "master", "br0", "up"}}),
	)
}

// ipIn runs ip in the network namespace of a process.
func ipIn(ctx context.Context, pid int, args ...string) error {
	enter := []string{"--target", strconv.Itoa(pid), "--net", "--", "ip"}
	if out, err := exec.CommandContext(ctx, "nsenter", append(enter, args...)...).CombinedOutput(); err != nil { //nolint:gosec // fixed arguments
		return fmt.Errorf("connect a machine: ip %v: %w: %s", args, err, out)
	}
	return nil
}

// cable is a machine's connection to a network.
type cable struct {
	Address string
	network *Network
	line    *Line
	port    string
}

// Cut takes the network away from a machine, which sees its link go down, but for that of a
// line.
func (c *cable) Cut(ctx context.Context) error {
	return c.network.ip(ctx, [][]string{{"link", "set", c.port, "down"}})
}

// Mend gives it back.
func (c *cable) Mend(ctx context.Context) error {
	return c.network.ip(ctx, [][]string{{"link", "set", c.port, "up"}})
}

// Close removes the network. Machines on it have to be closed before.
func (n *Network) Close() error {
	err := killAll(n.dir)
	if n.holder != nil {
		_ = n.holder.Wait() // killed on purpose
	}
	if n.names != nil {
		err = errors.Join(err, n.names.close())
	}
	return errors.Join(err, destroy(n.dir))
}
