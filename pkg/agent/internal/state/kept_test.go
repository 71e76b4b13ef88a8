package state_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/api"
)

// TestKept: what containers keep is known to the next agent, and dropped when asked.
func TestKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	want := map[string]api.Kept{
		api.KeptKey("p", "db", "op://a b/c/d"): {Accepted: "v1:1", Tried: "v1:2"},
		api.KeptKey("p", "db", "op://v/i/f"):   {},
	}
	for key, kept := range want {
		if err := s.SetKept(key, kept); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if diff := cmp.Diff(want, s.Kept()); diff != "" {
		t.Error(diff)
	}
	if err := s.DropKept(func(key string) bool { return key != "p/db/op://v/i/f" }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close() //nolint:errcheck // the test is over
	delete(want, "p/db/op://v/i/f")
	if diff := cmp.Diff(want, s.Kept()); diff != "" {
		t.Error(diff)
	}
}
