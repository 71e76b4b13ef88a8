package source_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/source/sourcetest"
)

// TestUmask: under the umask of a hardened unit a tree with folders is what it was written as,
// so that nobody makes it anew under who reads it, and containers of any user can read it.
func TestUmask(t *testing.T) {
	old := syscall.Umask(0o077)
	t.Cleanup(func() { syscall.Umask(old) })
	r := newGitRepo(t)
	id := r.commit(t, sourcetest.Files{"nodes/a": sourcetest.Text("one")})
	commits := openCommits(t, source.Limits{})
	first, err := commits.Tree(t.Context(), id, r.bare)
	if err != nil {
		t.Fatal(err)
	}
	open, err := os.OpenRoot(first.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if info, err := open.Stat("nodes"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("a folder has %v, %v", info, err)
	}
	if _, err := commits.Tree(t.Context(), id, filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("what is there is made anew: %v", err)
	}
	if _, err := open.Stat("nodes/a"); err != nil {
		t.Errorf("whoever had the tree open lost it: %v", err)
	}
}
