package telemetry_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/telemetry"
)

// systemd is the other end of NOTIFY_SOCKET.
type systemd struct{ conn *net.UnixConn }

func newSystemd(t *testing.T) systemd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "")
	t.Setenv("WATCHDOG_PID", "")
	return systemd{conn}
}

// next waits for a message; empty means that none came in time.
func (s systemd) next(t *testing.T, limit time.Duration) string {
	t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := s.conn.Read(buffer)
	if err != nil {
		return ""
	}
	return string(buffer[:n])
}

// until reads messages until one has the prefix.
func (s systemd) until(t *testing.T, prefix string) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if m := s.next(t, time.Until(deadline)); strings.HasPrefix(m, prefix) {
			return m
		}
	}
	t.Fatalf("no message %s…", prefix)
	return ""
}

func TestNotify(t *testing.T) {
	s := newSystemd(t)
	t.Setenv("WATCHDOG_USEC", "60000") // 60 ms
	var hung atomic.Bool
	alive := func() error {
		if hung.Load() {
			return errors.New("the loop\nhangs")
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- telemetry.Notify(ctx, alive) }()

	if m := s.next(t, time.Minute); m != "READY=1\nSTATUS=running" {
		t.Errorf("the first message is %q", m)
	}
	s.until(t, "WATCHDOG=1")
	s.until(t, "WATCHDOG=1")
	hung.Store(true)
	if m := s.until(t, "STATUS="); m != "STATUS=the loop; hangs" {
		t.Errorf("got %q", m)
	}
	if m := s.next(t, 200*time.Millisecond); m != "" {
		t.Errorf("a program that hangs sends %q", m)
	}
	hung.Store(false)
	s.until(t, "WATCHDOG=1")
	cancel()
	s.until(t, "STOPPING=1")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestNotifyWithoutWatchdog(t *testing.T) {
	s := newSystemd(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- telemetry.Notify(ctx, func() error { return nil }) }()
	s.until(t, "READY=1")
	cancel()
	if m := s.next(t, time.Minute); !strings.HasPrefix(m, "STOPPING=1") {
		t.Errorf("got %q", m)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestNotifyWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := telemetry.Notify(ctx, func() error { return errors.New("not asked") }); err != nil {
		t.Error(err)
	}
}

func TestNotifySaysWhenNobodyListens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	if err := telemetry.Notify(t.Context(), func() error { return nil }); err == nil || !strings.Contains(err.Error(), "tell systemd") {
		t.Errorf("got %v", err)
	}
}
