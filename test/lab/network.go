package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Network is an Ethernet of its own for machines, in a network namespace that no cable
// leaves. The test is a host on it: what it listens on there, machines can reach.
type Network struct {
	dir    string
	holder *exec.Cmd
	hosts  int
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
	if n.holder, err = hold(dir, "ip link set lo up && echo ready && exec sleep infinity", "--net"); err == nil {
		err = n.ip(ctx, [][]string{
			{"link", "add", "br0", "type", "bridge", "forward_delay", "0", "stp_state", "0"},
			{"link", "set", "br0", "address", "02:6c:61:62:00:01"},
			{"addr", "add", Address + "/24", "dev", "br0"},
			{"link", "set", "br0", "up"},
		})
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

// Command prepares a program that has the network as its only one.
func (n *Network) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(n.holder.Process.Pid), "--net", "--", name}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...) //nolint:gosec // tests name the programs
	cmd.Env = append(os.Environ(), envKey+"="+n.dir)
	return cmd
}

// Listen listens on a free port of Address.
func (n *Network) Listen() (net.Listener, error) {
	return listenIn(filepath.Join("/proc", strconv.Itoa(n.holder.Process.Pid), "ns/net"), Address+":0")
}

// plug connects the namespace of a process to the network, under the next free address.
func (n *Network) plug(ctx context.Context, pid int) (*cable, error) {
	n.hosts++
	c := &cable{network: n, port: fmt.Sprintf("port%d", n.hosts), Address: fmt.Sprintf("10.111.0.%d", 1+n.hosts)}
	mac := fmt.Sprintf("02:6c:61:62:00:%02x", 1+n.hosts) // fixed: stale neighbours swallow what is sent to a reused address
	err := n.ip(ctx, [][]string{
		{"link", "add", c.port, "type", "veth", "peer", "name", "eth0", "address", mac, "netns", strconv.Itoa(pid)},
		{"link", "set", c.port, "master", "br0", "up"},
	})
	return c, err
}

// cable is a machine's connection to a network.
type cable struct {
	Address string
	network *Network
	port    string
}

// Cut takes the network away from a machine, which sees its link go down.
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
	return errors.Join(err, destroy(n.dir))
}
