package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// startLimit bounds the start of an engine.
const startLimit = 3 * time.Minute

// StartEngine starts the node's dockerd and waits until it answers. A running one is left
// as it is.
func (n *Node) StartEngine(ctx context.Context) error {
	if n.engine != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	logFile, err := os.OpenFile(n.EngineLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log of the engine: %w", err)
	}
	defer logFile.Close() //nolint:errcheck // the engine has its own descriptor
	in := func(name string) string { return filepath.Join(n.Dir, name) }
	// Not bound to ctx: it outlives the start.
	cmd := n.Command(context.WithoutCancel(ctx), "dockerd",
		"--config-file", in("daemon.json"), "--data-root", in("data"), "--exec-root", in("exec"), "--pidfile", in("docker.pid"),
		"--host", "unix://"+n.Socket, "--cgroup-parent", "/"+filepath.Base(n.Dir), "--shutdown-timeout", "5")
	cmd.Env = append(cmd.Env, "PATH="+n.Path())
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start engine: %w", err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	n.engine, n.exited = cmd, exited
	err = wait(ctx, "the engine", func() bool { return n.Ping(ctx) == nil || ended(exited) })
	if err == nil && ended(exited) {
		err = errors.New("it ended at once")
	}
	if err != nil {
		log, _ := os.ReadFile(n.EngineLog())
		return fmt.Errorf("start engine: %w\n%s", err, log[max(0, len(log)-2000):])
	}
	return nil
}

func ended(exited chan struct{}) bool {
	select {
	case <-exited:
		return true
	default:
		return false
	}
}

// EngineLog is the file with what the engine says.
func (n *Node) EngineLog() string { return filepath.Join(n.Dir, "docker.log") }

// Ping tells whether the engine answers within two seconds.
func (n *Node) Ping(ctx context.Context) error { return ping(ctx, n.Socket) }

func ping(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/_ping", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// KillEngine ends dockerd with SIGKILL; containers run on. Its containerd goes with it.
// Their pid files are removed: a start would else take a process of the same number, or
// one that nobody has reaped yet, for the living engine.
func (n *Node) KillEngine(ctx context.Context) error {
	if n.engine == nil {
		return nil
	}
	if err := n.engine.Process.Kill(); err != nil {
		return fmt.Errorf("kill engine: %w", err)
	}
	<-n.exited
	n.engine = nil
	pids := []string{filepath.Join(n.Dir, "docker.pid"), filepath.Join(n.Dir, "exec/containerd/containerd.pid")}
	if err := wait(ctx, "the end of containerd", func() bool { return !runs(pids[1]) }); err != nil {
		return err
	}
	for _, path := range pids {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove pid file: %w", err)
		}
	}
	return nil
}

// runs tells whether the process of a pid file is there and no zombie.
func runs(pidFile string) bool {
	data, err := os.ReadFile(pidFile) //nolint:gosec // a file of the node
	if err != nil {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(data)), "stat"))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

// FreezeEngine stops dockerd with SIGSTOP: connects succeed, no byte ever comes.
func (n *Node) FreezeEngine() error { return n.engine.Process.Signal(syscall.SIGSTOP) }

// ThawEngine lets it go on.
func (n *Node) ThawEngine() error { return n.engine.Process.Signal(syscall.SIGCONT) }
