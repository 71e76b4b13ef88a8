package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// TestGenerationsAcrossRestarts: the next agent on the same folder counts on, and keeps
// counting for a stack that nobody wants for a while.
func TestGenerationsAcrossRestarts(t *testing.T) {
	const ref = "op://v/db/password"
	dir := t.TempDir()
	values := filepath.Join(dir, "values.env")
	cfg := Default()
	cfg.Node, cfg.StateDir, cfg.SecretsDir = "a", filepath.Join(dir, "state"), filepath.Join(dir, "secrets")
	cfg.Source.Dir = &DirSource{Path: t.TempDir()}
	cfg.Secrets.Dotenv = &DotenvConfig{File: values}
	life := func(value string, want uint64) {
		t.Helper()
		if err := os.WriteFile(values, []byte("DB_PASSWORD="+value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := newAgent(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer a.close()
		a.resume()
		refs := []string{ref}
		a.secretsLooked(refs, a.secrets.Refresh(t.Context(), refs))
		if got := a.secrets.StateOf(ref); got.Generation != want || got.Reason != "" {
			t.Errorf("%q is generation %d, want %d: %s", value, got.Generation, want, got.Message)
		}
		unused := a.remembersGeneration(&api.Desired{})
		if !unused(ref, api.SecretGeneration{Since: time.Now().Add(-generationsFor + time.Hour)}) ||
			unused(ref, api.SecretGeneration{Since: time.Now().Add(-generationsFor - time.Hour)}) {
			t.Error("a reference that nobody uses is remembered for another time than 90 days")
		}
	}
	life("one", 1)
	life("one", 1)
	life("two", 2)
	life("two", 2)
	if err := os.Remove(filepath.Join(cfg.StateDir, "state.db")); err != nil {
		t.Fatal(err)
	}
	life("two", 1) // all is lost but the key
}
