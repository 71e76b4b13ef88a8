package database_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/database"
	"ktrdr.io/fleet/test/port"
)

// TestPassword: the first start's password is in force until it is altered over the local
// socket, also after another start with another one in the environment.
func TestPassword(t *testing.T) {
	cfg := database.Config{Addr: port.Reserve(t), DataDir: filepath.Join(t.TempDir(), "data"), User: "u", Password: "first 'p\"w$ü"}
	serve := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- database.Serve(ctx, cfg, slog.New(slog.DiscardHandler)) }()
		becomes(t, cfg.Addr, database.Accepting)
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	accepts := func(user, password string, want bool) {
		t.Helper()
		err := database.Login(t.Context(), cfg.Addr, user, password)
		if want && err != nil || !want && !errors.Is(err, database.ErrDenied) {
			t.Errorf("login of %s with %q: %v", user, password, err)
		}
	}
	stop := serve()
	first := cfg.Password
	accepts("u", first, true)
	accepts("u", "", false)
	accepts("other", first, false)
	if err := database.Alter(t.Context(), cfg.DataDir, "other", "second"); err == nil {
		t.Error("a user that does not exist got a password")
	}
	for range 2 { // it may be given again
		if err := database.Alter(t.Context(), cfg.DataDir, "u", "second"); err != nil {
			t.Fatal(err)
		}
		accepts("u", "second", true)
		accepts("u", first, false)
	}
	stop()
	cfg.Password = "of the environment"
	defer serve()()
	accepts("u", "second", true)
	accepts("u", cfg.Password, false)
	data, err := os.ReadFile(filepath.Join(cfg.DataDir, "ktrdrsim.json"))
	if err != nil || strings.Contains(string(data), "second") {
		t.Errorf("the data file has the password (%v)", err)
	}
}

// TestPasswordOverTheNetwork: only the local socket is trusted.
func TestPasswordOverTheNetwork(t *testing.T) {
	cfg := database.Config{Addr: port.Reserve(t), DataDir: t.TempDir(), User: "u", Password: "first"}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- database.Serve(ctx, cfg, slog.New(slog.DiscardHandler)) }()
	becomes(t, cfg.Addr, database.Accepting)
	verifier, err := database.Verifier("stolen")
	if err != nil {
		t.Fatal(err)
	}
	if answer := say(t, cfg.Addr, "ALTER u "+verifier); answer != "" {
		t.Errorf("it answers %q", answer)
	}
	if err := database.Login(t.Context(), cfg.Addr, "u", "first"); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
