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
	"ktrdr.io/fleet/test/port"
)

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
	deadline := time.Now().Add(time.Minute)
	for got := -1; got != code; got = database.Probe(t.Context(), addr) {
		if time.Now().After(deadline) {
			t.Fatalf("probe of %s is %d, want %d", addr, got, code)
		}
	}
}

func TestDatabaseStartsBecomesReadyAndKeepsItsData(t *testing.T) {
	addr := port.Reserve(t)
	becomes(t, addr, database.NoResponse)
	cfg := database.Config{Addr: addr, DataDir: filepath.Join(t.TempDir(), "data"), User: "u", Password: "first"}
	serve := func(delay time.Duration) (stop func()) {
		cfg.ReadyDelay = delay
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- database.Serve(ctx, cfg, slog.New(slog.DiscardHandler)) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Fatalf("serve: %v", err)
			}
			becomes(t, addr, database.NoResponse)
		}
	}
	stop := serve(time.Hour)
	becomes(t, addr, database.Rejecting)
	stop()
	const delay = 300 * time.Millisecond
	began := time.Now()
	stop = serve(delay)
	becomes(t, addr, database.Accepting)
	if took := time.Since(began); took < delay {
		t.Errorf("it is ready after %s, and not to be before %s", took, delay)
	}
	stop()

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
