package deliver_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ktrdr.io/fleet/pkg/api"
)

// TestRotationValues: both values are there while a rotation runs, beside the delivered
// ones, and nothing after it; what an agent that died left behind is replaced.
func TestRotationValues(t *testing.T) {
	s, _ := memory(t)
	folder, done := s.New("db")
	defer done()
	if err := s.Write(folder, content("v1:one")); err != nil {
		t.Fatal(err)
	}
	paths, err := s.Paths(folder, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(paths.Values, api.SecretsRotation)
	for _, old := range []string{"the old one", ""} {
		if err := s.Offer(folder, old, canary); err != nil {
			t.Fatal(err)
		}
		if got := read(t, filepath.Join(dir, api.RotationNew)); got != canary {
			t.Errorf("new value %q", got)
		}
		mode(t, filepath.Join(dir, api.RotationNew), 0o444)
		data, err := os.ReadFile(filepath.Join(dir, api.RotationOld))
		if string(data) != old || (err != nil) != (old == "") {
			t.Errorf("old value %q, %v; want %q", data, err, old)
		}
	}
	if err := s.Write(folder, content("v1:two")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Withdraw(folder); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the values are still there: %v", err)
	}
	if got := read(t, filepath.Join(paths.Values, api.SecretsCurrent, api.SecretFileName(ref))); got != canary {
		t.Errorf("delivered value %q", got)
	}
}

// TestTexts: an agent finds again what was delivered.
func TestTexts(t *testing.T) {
	s, _ := memory(t)
	folder, done := s.New("db")
	defer done()
	if texts := s.Texts(folder); len(texts) != 0 {
		t.Errorf("texts of nothing: %q", texts)
	}
	if err := s.Write(folder, content("v1:one")); err != nil {
		t.Fatal(err)
	}
	texts := s.Texts(folder)
	slices.Sort(texts)
	if !slices.Equal(texts, []string{"plain", canary, canary}) {
		t.Errorf("texts: %q", texts)
	}
}
