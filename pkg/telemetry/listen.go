package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// TCP says where ListenTCP listens.
type TCP struct {
	// Addr is host:port. An empty host means all interfaces and needs AllowRemote.
	Addr string
	// AllowRemote accepts an address that is not loopback.
	AllowRemote bool
}

// ListenTCP listens on a TCP address, and refuses one that other machines can reach
// unless cfg allows it. The caller closes the listener, or gives it to Serve.
func ListenTCP(ctx context.Context, cfg TCP) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(cfg.Addr); err != nil {
		return nil, fmt.Errorf("listen on %q: write host:port: %w", cfg.Addr, err)
	}
	if !cfg.AllowRemote {
		if err := requireLoopback(ctx, cfg.Addr); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", cfg.Addr, err)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", cfg.Addr, err)
	}
	// The name may have been resolved to something else by now.
	bound, err := netip.ParseAddrPort(l.Addr().String())
	if !cfg.AllowRemote && (err != nil || !bound.Addr().IsLoopback()) {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", cfg.Addr, errRemote), l.Close())
	}
	return l, nil
}

var errRemote = errors.New("the address is not loopback, so other machines could reach it; set allowRemote if that is wanted")

func requireLoopback(ctx context.Context, addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if host == "" {
		return errRemote
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if !a.Unmap().IsLoopback() {
			return errRemote
		}
	}
	return nil
}

// socketMode lets the owner and the group of the process use the socket.
const socketMode = 0o660

// staleTimeout bounds the question whether somebody answers on an existing socket.
const staleTimeout = time.Second

// ListenUnix listens on a Unix socket that owner and group may use (0660). It makes the
// folder of path (0755) and removes a socket that nobody answers on; one that is in use,
// and anything that is no socket, is left alone and is an error. Closing the listener
// removes the socket.
func ListenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // users have to reach the socket
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// Linux takes the mode of the unbound socket for the file, so that there is no moment
	// in which others can connect. unix(7) is silent about it; net/unix/af_unix.c unix_bind.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		err := c.Control(func(fd uintptr) { chmodErr = syscall.Fchmod(int(fd), socketMode) }) //nolint:gosec // a descriptor fits
		return errors.Join(err, chmodErr)
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}

func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is something that is no socket; it is left alone")
	}
	d := net.Dialer{Timeout: staleTimeout}
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(errors.New("another process answers there: is an agent running already?"), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("find out whether the socket is in use: %w", err)
	}
	return os.Remove(path)
}
