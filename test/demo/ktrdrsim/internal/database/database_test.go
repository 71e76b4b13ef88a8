package database_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/database"
)

// freeAddr is an address on which nobody listens at the time of the call.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// say sends a line and returns all of the answer.
func say(t *testing.T, addr, line string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn) // a reset is no answer
	return string(answer)
}

// becomes polls until the probe has the code.
func becomes(t *testing.T, addr string, code int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for got := -1; got != code; got = database.Probe(t.Context(), addr) {
		if time.Now().After(deadline) {
			t.Fatalf("probe of %s is %d, want %d", addr, got, code)
		}
	}
}

func TestDatabaseStartsBecomesReadyAndKeepsItsData(t *testing.T) {
	addr := freeAddr(t)
	becomes(t, addr, database.NoResponse)
	cfg := database.Config{
		Addr: addr, DataDir: filepath.Join(t.TempDir(), "data"), User: "u", Password: "first", ReadyDelay: 300 * time.Millisecond,
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- database.Serve(ctx, cfg, slog.New(slog.DiscardHandler)) }()
	becomes(t, addr, database.Rejecting)
	becomes(t, addr, database.Accepting)
	cancel()
	if err := <-ended; err != nil {
		t.Fatalf("serve: %v", err)
	}
	becomes(t, addr, database.NoResponse)

	cfg.Password = ""
	first, err := database.Open(cfg)
	if err != nil {
		t.Fatalf("the second start asks for a password: %v", err)
	}
	again, err := database.Open(cfg)
	if err != nil || again != first || first.User != "u" {
		t.Errorf("the cluster is %+v, then %+v (%v)", first, again, err)
	}
	cfg.DataDir = t.TempDir()
	cfg.Password = "x"
	lost, err := database.Open(cfg)
	if err != nil || lost.ID == first.ID {
		t.Errorf("an empty directory has the cluster %+v (%v)", lost, err)
	}
}
