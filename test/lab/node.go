package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrUnavailable says what this machine lacks for nodes of its own; tests skip then.
var ErrUnavailable = errors.New("no nodes of our own on this machine")

// Node is a Docker host. Its methods are for one goroutine at a time.
type Node struct {
	// Dir holds all files of the node. It is short, so that sockets in it fit.
	Dir string
	// Socket is the engine's, reachable from outside of the node too.
	Socket string

	opts   Options
	holder *exec.Cmd
	engine *exec.Cmd
	exited chan struct{}
}

// prefix of the folders of nodes, below the system's temporary folder.
const prefix = "ktrdr-lab-"

// envKey marks every process of a node; its value is the node's folder.
const envKey = "KTRDR_LAB"

// Options say what is different about a node; the zero value is a node with the machine's
// own engine.
type Options struct {
	// Programs is a folder with usr/sbin/dockerd, usr/bin/containerd and their like
	// (scripts/engines.sh prints such). What it lacks, such as runc, is the machine's.
	Programs string
}

// Start makes a node and waits until its engine answers. ctx bounds the start alone.
func Start(ctx context.Context) (*Node, error) { return StartWith(ctx, Options{}) }

// StartWith is Start with an engine of another folder.
func StartWith(ctx context.Context, opts Options) (*Node, error) {
	if err := available("dockerd", "containerd", "nsenter", "unshare", "ip", "iptables"); err != nil {
		return nil, err
	}
	dir, err := makeDir()
	if err != nil {
		return nil, err
	}
	n := &Node{Dir: dir, Socket: filepath.Join(dir, "docker.sock"), opts: opts}
	if err := n.boot(ctx); err != nil {
		return nil, errors.Join(err, n.Close()) //nolint:contextcheck // the end of a node is not bound to its start
	}
	return n, nil
}

func available(tools ...string) error {
	if os.Getuid() != 0 {
		return fmt.Errorf("%w: they need root", ErrUnavailable)
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return nil
}

// makeDir makes the folder of a node, by whose name Sweep finds all of it.
func makeDir() (string, error) {
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return "", fmt.Errorf("make folder of a node: %w", err)
	}
	owner := strconv.Itoa(os.Getpid()) + " " + startTime(os.Getpid())
	if err := os.WriteFile(filepath.Join(dir, "owner"), []byte(owner), 0o600); err != nil {
		return "", fmt.Errorf("note the owner of a node: %w", errors.Join(err, os.RemoveAll(dir)))
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // containers read files of an agent below it
		return "", fmt.Errorf("open the folder of a node: %w", errors.Join(err, os.RemoveAll(dir)))
	}
	return dir, nil
}

func (n *Node) boot(ctx context.Context) error {
	if err := os.WriteFile(filepath.Join(n.Dir, "daemon.json"), []byte("{}"), 0o600); err != nil {
		return fmt.Errorf("write the engine's configuration: %w", err)
	}
	if err := n.hold(); err != nil {
		return err
	}
	return n.StartEngine(ctx)
}

// hold starts the process that keeps the namespaces. /run is the node's own: containerd's
// shims have their sockets there, and a machine's containerd is not taken for the node's.
func (n *Node) hold() (err error) {
	const script = `ip link set lo up && mount -t tmpfs tmpfs /run && echo ready && exec sleep infinity`
	n.holder, err = hold(n.Dir, script, "--mount", "--net", "--propagation", "private")
	return err
}

// hold starts a process that keeps namespaces: unshare's options say which. The script
// says "ready" when they are.
func hold(dir, script string, options ...string) (*exec.Cmd, error) {
	cmd := exec.Command("unshare", append(options, "sh", "-c", script)...) //nolint:noctx,gosec // ended by killAll; fixed arguments
	cmd.Env = append(os.Environ(), envKey+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("make namespaces: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("make namespaces: %w", err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); strings.TrimSpace(line) != "ready" {
		return cmd, fmt.Errorf("%w: namespaces can't be made here", ErrUnavailable)
	}
	return cmd, nil
}

func (n *Node) environ() []string { return append(os.Environ(), envKey+"="+n.Dir) }

// Command prepares a program that runs in the namespaces of the node.
func (n *Node) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(n.holder.Process.Pid), "--mount", "--net", "--wdns=/", "--", name}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...) //nolint:gosec // tests name the programs
	cmd.Env = n.environ()
	return cmd
}

// Listen listens on an address in the node's network: what runs there reaches the test by it.
func (n *Node) Listen(address string) (net.Listener, error) {
	return listenIn(namespaceOf(n.holder.Process.Pid), address)
}

// Path is PATH with the engine's own programs first. dockerd starts containerd by it, and
// containerd its shim.
func (n *Node) Path() string {
	path := os.Getenv("PATH")
	if n.opts.Programs == "" {
		return path
	}
	own := []string{filepath.Join(n.opts.Programs, "usr/sbin"), filepath.Join(n.opts.Programs, "usr/bin"), path}
	return strings.Join(own, string(os.PathListSeparator))
}

// Run runs a program on the node and returns what it said.
func (n *Node) Run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := n.Command(ctx, name, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Reboot is a loss of power followed by a start: every process ends at once, what the
// engine keeps outside of its data folder is gone.
func (n *Node) Reboot(ctx context.Context) error {
	if err := n.PowerOff(); err != nil { //nolint:contextcheck // has a limit of its own
		return err
	}
	if err := os.RemoveAll(filepath.Join(n.Dir, "exec")); err != nil {
		return fmt.Errorf("wipe what does not outlive a reboot: %w", err)
	}
	if err := n.hold(); err != nil {
		return err
	}
	return n.StartEngine(ctx)
}

// PowerOff ends every process of the node with SIGKILL and waits until they are gone.
func (n *Node) PowerOff() error {
	err := killAll(n.Dir)
	if n.engine != nil {
		<-n.exited
		n.engine = nil
	}
	if n.holder != nil {
		_ = n.holder.Wait() // killed on purpose
		n.holder = nil
	}
	return err
}

// Close ends the node and removes all of it.
func (n *Node) Close() error { return errors.Join(n.PowerOff(), destroy(n.Dir)) }

// wait polls until done says so.
func wait(ctx context.Context, what string, done func() bool) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-ticker.C:
		}
	}
	return nil
}
