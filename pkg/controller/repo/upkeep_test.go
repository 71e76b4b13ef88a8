package repo_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/desired/edit"
	"ktrdr.io/fleet/pkg/source"
)

// TestPacksAreJoined makes many small packs, and loses nothing when they are joined.
func TestPacksAreJoined(t *testing.T) {
	h, g, first := seeded(t)
	g.check = func(context.Context, repo.Push, func(string)) error { return nil }
	dir := filepath.Join(mustTree(t, h, first).Dir, "../../..")
	bare := filepath.Join(dir, "desired-state.git")
	w := newWork(t)
	for i := range 52 {
		object := w.git("--git-dir", bare, "commit-tree", "-m", fmt.Sprint(i), first+"^{tree}")
		cmd := w.command(t.Context(), "--git-dir", bare, "pack-objects", "-q", filepath.Join(bare, "objects/pack/pack"))
		cmd.Stdin = strings.NewReader(object + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	change := scale("bob", 2)
	change.Edit = func(_ context.Context, head source.Tree) ([]edit.Edit, string, error) {
		before, err := os.ReadFile(filepath.Join(head.Dir, "fleet.yaml"))
		return []edit.Edit{{Path: "fleet.yaml", Before: before, After: append([]byte("# x\n"), before...)}}, "x", err
	}
	if _, err := h.Change(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil { // waits for the packing
		t.Fatal(err)
	}
	packs, err := filepath.Glob(filepath.Join(bare, "objects/pack/*.pack"))
	if err != nil || len(packs) > 10 {
		t.Errorf("%d packs, %v", len(packs), err)
	}
	if out, err := w.try("--git-dir", bare, "fsck", "--full", "--strict"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func mustTree(t *testing.T, h *repo.Hosted, rev string) source.Tree {
	t.Helper()
	tree, err := h.Tree(t.Context(), rev)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestSweep opens a repository that a crash left in disorder.
func TestSweep(t *testing.T) {
	h, g, first := seeded(t)
	dir := filepath.Join(mustTree(t, h, first).Dir, "../../..")
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	litter := []string{
		"incoming/push-1/objects/pack/pack-1.pack", "candidates/tmp/new-1/x", "home/index-1/index", "desired-state.git/packed-refs.lock",
		"desired-state.git/objects/pack/tmp_pack_1", "desired-state.git/objects/pack/pack-2.pack", "desired-state.git/objects/pack/pack-2.rev",
	}
	for _, name := range litter {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := open(t, repo.HostedConfig{Dir: dir, Gate: g, Head: g.head})
	for _, name := range litter {
		if _, err := os.Stat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if head, err := again.Head(t.Context()); err != nil || head.ID != first {
		t.Errorf("head %+v, %v", head, err)
	}
}
