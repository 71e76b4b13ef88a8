package store_test

import (
	"testing"

	"ktrdr.io/fleet/pkg/controller/store"
)

// TestEpochGrows with each session, also right after one that wrote nothing else, and across a
// restart of the store.
func TestEpochGrows(t *testing.T) {
	dir := t.TempDir()
	var last int64
	for range 3 {
		s, err := store.Open(t.Context(), store.Config{Embedded: &store.Embedded{Dir: dir}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			se, err := s.OpenSession(t.Context(), store.Controller{ID: "c1"})
			if err != nil {
				t.Fatal(err)
			}
			if now := se.Epoch(); now <= last {
				t.Errorf("epoch %d after %d", now, last)
			}
			last = se.Epoch()
			if err := se.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
