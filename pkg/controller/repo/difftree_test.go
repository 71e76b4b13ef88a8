package repo_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDiffFolder compares the head with a folder that no commit is made of, and leaves nothing
// in the repository.
func TestDiffFolder(t *testing.T) {
	g := newGate(t)
	cfg := config(t, g)
	first := seed(t, cfg.Dir)
	h := open(t, cfg)
	tree, err := h.Tree(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(tree.Dir)); err != nil {
		t.Fatal(err)
	}
	before := files(t, cfg.Dir)
	if diff, err := h.DiffFolder(t.Context(), first, dir); err != nil || diff.Text != "" {
		t.Errorf("the same files: %v, %q", err, diff.Text)
	}
	text, err := os.ReadFile(filepath.Join(dir, "nodes/b.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"nodes/b.yaml": strings.Replace(string(text), "backtest: 1", "backtest: 3", 1), "stacks/new/stack.yaml": "kind: Stack\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "nodes/c.yaml")); err != nil {
		t.Fatal(err)
	}
	diff, err := h.DiffFolder(t.Context(), first, dir)
	if err != nil || diff.Truncated {
		t.Fatal(diff, err)
	}
	for _, want := range []string{
		"--- a/nodes/b.yaml\n+++ b/nodes/b.yaml\n", "\n-    backtest: 1\n+    backtest: 3\n", "\n--- /dev/null\n+++ b/stacks/new/stack.yaml\n", "\ndeleted file mode 100644\n",
	} {
		if !strings.Contains(diff.Text, want) {
			t.Errorf("%q is missing in\n%s", want, diff.Text)
		}
	}
	if diff, err := h.DiffFolder(t.Context(), "", dir); err != nil || !strings.Contains(diff.Text, "+kind: Stack") || strings.Contains(diff.Text, "\n-    ") {
		t.Errorf("against nothing: %v", err)
	}
	if after := files(t, cfg.Dir); !slices.Equal(before, after) {
		t.Errorf("the repository had %d files, and has %d", len(before), len(after))
	}
}

// files are the paths of all files below a folder.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
