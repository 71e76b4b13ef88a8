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
	"strings"
	"time"
)

// Machine is a whole host: an LXC container with systemd, a Docker engine and a disk of its
// own, on a network. What is done to it is done as to a real one: power loss, reboot,
// units, a full disk, a pulled cable. Its methods are for one goroutine at a time.
type Machine struct {
	*cable
	// Dir holds all files of the machine.
	Dir string

	opts    MachineOptions
	holder  *exec.Cmd // keeps the network while the machine is off
	monitor *exec.Cmd // lxc-start; nil while the machine is off
	exited  chan struct{}
	pid     int // of the machine's process 1, seen from here
}

// MachineOptions say what a machine is.
type MachineOptions struct {
	// Root is the folder that scripts/node-root.sh has made. It is never written.
	Root string
	// Name is the machine's host name.
	Name string
	// Names are more names of it on the network, where it is NAME.lab.
	Names []string
	// Line is its cable; nil is one without faults.
	Line *Line
	// DiskMB is the size of its disk; 0 is a disk as large as that of this machine.
	DiskMB int
	// Unprivileged maps the machine's users to others of this one: its root is nobody here.
	Unprivileged bool
	// Install puts files on the disk before the first boot; root is the root of the disk.
	Install func(root string) error
}

// Limits of the steps of a machine's life, which a busy machine takes long for.
const (
	bootLimit = 3 * time.Minute
	haltLimit = 3 * time.Minute
	askLimit  = 20 * time.Second // an answer of LXC
)

// Boot makes a machine and waits until its engine answers. ctx bounds the making alone.
func (n *Network) Boot(ctx context.Context, opts MachineOptions) (*Machine, error) {
	if err := available("lxc-start", "lxc-stop", "lxc-info", "lxc-attach"); err != nil {
		return nil, err
	}
	dir, err := makeDir()
	if err != nil {
		return nil, err
	}
	m := &Machine{Dir: dir, opts: opts}
	if err := m.make(ctx, n); err != nil {
		return nil, errors.Join(err, m.Close()) //nolint:contextcheck // the end is not bound to the start
	}
	return m, nil
}

func (m *Machine) make(ctx context.Context, n *Network) (err error) {
	if m.holder, err = hold(m.Dir, "ip link set lo up && echo ready && exec sleep infinity", "--net"); err != nil {
		return err
	}
	pid := m.holder.Process.Pid
	if m.cable, err = n.plug(ctx, pid, m.opts.Line); err != nil {
		return err
	}
	for _, args := range [][]string{{"addr", "add", m.Address + "/24", "dev", "eth0"}, {"link", "set", "eth0", "up"}} {
		if err := ipIn(ctx, pid, args...); err != nil {
			return err
		}
	}
	if err := n.nameMachine(m); err != nil {
		return err
	}
	if err := m.makeDisk(ctx); err != nil {
		return err
	}
	if err := m.configure(); err != nil {
		return err
	}
	return m.PowerOn(ctx)
}

// makeDisk makes the folder that holds what the machine writes: on its own file system
// when the disk has a size.
func (m *Machine) makeDisk(ctx context.Context) error {
	disk := m.in("disk")
	if err := os.Mkdir(disk, 0o755); err != nil { //nolint:gosec // the root of a file system
		return fmt.Errorf("make a disk: %w", err)
	}
	if m.opts.DiskMB > 0 {
		image := m.in("disk.img")
		for _, args := range [][]string{
			{"truncate", "--size", strconv.Itoa(m.opts.DiskMB) + "M", image},
			{"mkfs.ext4", "-q", "-m", "0", image},
			{"mount", "-o", "loop", image, disk}, // the loop device goes with the mount
		} {
			if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil { //nolint:gosec // fixed arguments
				return fmt.Errorf("%w: a disk of a size of its own: %v: %w: %s", ErrUnavailable, args, err, out)
			}
		}
	}
	if m.opts.Unprivileged {
		if out, err := exec.CommandContext(ctx, "cp", "-a", m.opts.Root, filepath.Join(disk, "root")).CombinedOutput(); err != nil { //nolint:gosec // fixed arguments
			return fmt.Errorf("make a disk: %w: %s", err, out)
		}
	}
	for _, name := range []string{"root/etc", "docker", "root/var/lib"} {
		if err := os.MkdirAll(filepath.Join(disk, name), 0o755); err != nil { //nolint:gosec // as on any system
			return fmt.Errorf("make a disk: %w", err)
		}
	}
	for name, text := range map[string]string{"hostname": m.opts.Name + "\n", "resolv.conf": resolvConf} {
		if err := os.WriteFile(filepath.Join(disk, "root/etc", name), []byte(text), 0o644); err != nil { //nolint:gosec // as on any system
			return fmt.Errorf("make a disk: %w", err)
		}
	}
	if m.opts.Install == nil {
		return nil
	}
	return m.opts.Install(filepath.Join(disk, "root"))
}

// configure writes the container's configuration. lxc.container.conf(5).
func (m *Machine) configure() error {
	group := filepath.Base(m.Dir)
	lines := append(m.users(),
		"lxc.uts.name = "+m.opts.Name,
		"lxc.apparmor.profile = unconfined",
		"lxc.cap.drop =",
		"lxc.mount.auto = proc:rw sys:rw cgroup:rw",
		"lxc.signal.halt = SIGRTMIN+3",
		"lxc.tty.max = 0",
		"lxc.pty.max = 1024", // as in LXC's common.conf: without it there is no /dev/ptmx, which PrivateDevices= needs
		"lxc.cgroup.dir.container = "+group+"/payload",
		"lxc.cgroup.dir.monitor = "+group+"/monitor",
		"lxc.cgroup.dir.monitor.pivot = "+group+"/ended",
	)
	if err := os.MkdirAll(m.in("lxc/"+m.opts.Name), 0o711); err != nil { //nolint:gosec // a mapped root passes through
		return fmt.Errorf("configure a machine: %w", err)
	}
	if err := os.WriteFile(m.in("lxc/"+m.opts.Name+"/config"), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return fmt.Errorf("configure a machine: %w", err)
	}
	return nil
}

func (m *Machine) in(name string) string { return filepath.Join(m.Dir, name) }

// lxc prepares a command on the machine's container.
func (m *Machine) lxc(ctx context.Context, name string, args ...string) *exec.Cmd {
	args = append([]string{"-P", m.in("lxc"), "-n", m.opts.Name}, args...)
	if m.opts.Unprivileged { // where the cable's end is; LXC's own sockets are in that network, too
		name, args = "nsenter", append([]string{"--target", strconv.Itoa(m.holder.Process.Pid), "--net", "--", name}, args...)
	}
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // fixed names
	cmd.Env = append(os.Environ(), envKey+"="+m.Dir)
	return cmd
}

// PowerOn boots the machine and waits until its engine answers.
func (m *Machine) PowerOn(ctx context.Context) error {
	log, err := os.OpenFile(m.in("lxc.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log of a machine: %w", err)
	}
	defer log.Close() //nolint:errcheck // the machine has its own descriptor
	// Not bound to ctx: it outlives the start.
	cmd := m.lxc(context.WithoutCancel(ctx), "lxc-start", "-F", "-o", m.in("lxc.log"), "-L", m.in("console.log"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a machine: %w", err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	m.monitor, m.exited = cmd, exited
	return m.AwaitBoot(ctx, 0)
}

// AwaitBoot waits until a process 1 other than the given one is there and the engine
// answers. PID tells which one is there now.
func (m *Machine) AwaitBoot(ctx context.Context, other int) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	err := wait(ctx, "the boot of "+m.opts.Name, func() bool {
		if ended(m.exited) {
			return true
		}
		m.pid = m.findPID(ctx)
		return m.pid > 0 && m.pid != other && ping(ctx, m.Socket()) == nil
	})
	if err == nil && ended(m.exited) {
		err = fmt.Errorf("%w: the container of %s ended at once", ErrUnavailable, m.opts.Name)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s\n%s", err, tail(m.in("lxc.log")), tail(m.in("console.log")))
	}
	return nil
}

// findPID asks LXC, which gives no answer to who asks in the moment of a reboot.
func (m *Machine) findPID(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	out, err := m.lxc(ctx, "lxc-info", "-pH").Output()
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	return pid
}

func tail(path string) []byte {
	text, _ := os.ReadFile(path) //nolint:gosec // a file of the node
	return text[max(0, len(text)-2000):]
}

// PID is the machine's process 1, seen from here.
func (m *Machine) PID() int { return m.pid }

// Path is where a file of the running machine is seen from here.
func (m *Machine) Path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(m.pid), "root", name)
}

// Socket is the engine's.
func (m *Machine) Socket() string { return m.Path("/run/docker.sock") }

// Run runs a program on the machine as root and returns what it wrote.
func (m *Machine) Run(ctx context.Context, name string, args ...string) (string, error) {
	const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	out, err := m.lxc(ctx, "lxc-attach", append([]string{"--clear-env", "--set-var", path, "--", name}, args...)...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %s %s: %w: %s", m.opts.Name, name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Listen listens on an address in the machine's network.
func (m *Machine) Listen(address string) (net.Listener, error) {
	return listenIn(namespaceOf(m.holder.Process.Pid), address)
}

// PowerLoss ends every process of the machine at once.
func (m *Machine) PowerLoss(ctx context.Context) error { return m.halt(ctx, "-k") }

// Shutdown lets systemd end everything in order.
func (m *Machine) Shutdown(ctx context.Context) error {
	return m.halt(ctx, "--nokill", "--timeout", strconv.Itoa(int(haltLimit.Seconds())))
}

func (m *Machine) halt(ctx context.Context, how ...string) error {
	ctx, cancel := context.WithTimeout(ctx, haltLimit)
	defer cancel()
	if out, err := m.lxc(ctx, "lxc-stop", how...).CombinedOutput(); err != nil {
		return fmt.Errorf("halt %s: %w: %s", m.opts.Name, err, out)
	}
	if err := wait(ctx, "the end of "+m.opts.Name, func() bool { return ended(m.exited) }); err != nil {
		return err
	}
	m.monitor, m.pid = nil, 0
	return nil
}

// Close ends the machine and removes all of it.
func (m *Machine) Close() error {
	err := killAll(m.Dir)
	if m.monitor != nil {
		<-m.exited
	}
	if m.holder != nil {
		_ = m.holder.Wait() // killed on purpose
	}
	if m.opts.Line != nil {
		err = errors.Join(err, m.opts.Line.close())
	}
	return errors.Join(err, destroy(m.Dir))
}
