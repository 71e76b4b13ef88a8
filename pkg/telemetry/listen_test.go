package telemetry_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/telemetry"
)

func TestListenTCP(t *testing.T) {
	for _, c := range []struct {
		cfg  telemetry.TCP
		want string // of the error; empty: none
	}{
		{telemetry.TCP{Addr: "127.0.0.1:0"}, ""},
		{telemetry.TCP{Addr: "localhost:0"}, ""},
		{telemetry.TCP{Addr: "0.0.0.0:0", AllowRemote: true}, ""},
		{telemetry.TCP{Addr: "0.0.0.0:0"}, "not loopback"},
		{telemetry.TCP{Addr: ":0"}, "not loopback"},
		{telemetry.TCP{Addr: "[::]:0"}, "not loopback"},
		{telemetry.TCP{Addr: "192.0.2.1:9180"}, "not loopback"},
		{telemetry.TCP{Addr: "127.0.0.1"}, "write host:port"},
		{telemetry.TCP{Addr: "", AllowRemote: true}, "write host:port"},
	} {
		l, err := telemetry.ListenTCP(t.Context(), c.cfg)
		if err == nil {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", c.cfg, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%+v: got %v, want an error with %q", c.cfg, err, c.want)
		}
	}
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "agent.sock")
	l, err := telemetry.ListenUnix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]os.FileMode{path: os.ModeSocket | 0o660, filepath.Dir(path): os.ModeDir | 0o755} {
		info, err := os.Lstat(file)
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v (%v)", filepath.Base(file), info.Mode(), want, err)
		}
	}
	if _, err := telemetry.ListenUnix(t.Context(), path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("a socket in use was taken: %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the attempt broke the socket in use: %v", err)
	} else if err := c.Close(); err != nil {
		t.Error(err)
	}
	// A process that was killed leaves its socket behind.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("no stale socket to test with: %v", err)
	}
	if l, err = telemetry.ListenUnix(t.Context(), path); err != nil {
		t.Fatalf("a stale socket is in the way: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays after Close: %v", err)
	}
}

func TestListenUnixLeavesOthersAlone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dir} {
		if _, err := telemetry.ListenUnix(t.Context(), path); err == nil || !strings.Contains(err.Error(), "no socket") {
			t.Errorf("%s: got %v", filepath.Base(path), err)
		}
	}
	if content, err := os.ReadFile(link); err != nil || string(content) != "precious" {
		t.Errorf("the file was touched: %q, %v", content, err)
	}
}
