package state_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/api"
)

// TestGenerations: which values references had is known to the next agent, also beside a lost
// key; what comes late does not count back.
func TestGenerations(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	const ref, gone = "op://v/i/f", "op://v/i/gone"
	three := []api.SecretGeneration{{Number: 2, Digest: "v1:2", Since: at}, {Number: 3, Digest: "v1:3", Since: at}}
	s := open(t, dir)
	ok(t,
		s.SetGenerations(map[string][]api.SecretGeneration{ref: three, gone: three[:1]}),
		s.SetGenerations(map[string][]api.SecretGeneration{ref: three[:1], "op://v/i/none": nil}),
		s.DropGenerations(func(ref string, newest api.SecretGeneration) bool { return ref != gone && newest.Number == 3 }),
		s.Close(),
	)
	want := map[string][]api.SecretGeneration{ref: three}
	s = open(t, dir)
	if diff := cmp.Diff(want, s.Generations()); diff != "" {
		t.Error(diff)
	}
	before := stamp(t, dir)
	ok(t, s.SetGenerations(s.Generations()))
	if stamp(t, dir) != before {
		t.Error("the same is written again")
	}
	want[ref] = three[1:]
	ok(t, s.SetGenerations(want), s.Close())
	s = open(t, dir)
	defer s.Close() //nolint:errcheck // the test is over
	if diff := cmp.Diff(want, s.Generations()); diff != "" {
		t.Error(diff)
	}
}

// stamp is the content of the file, as nobody else would change it.
func stamp(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "state.db")) //nolint:gosec // the test's own folder
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
