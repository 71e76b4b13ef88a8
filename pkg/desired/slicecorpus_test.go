package desired_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestSliceOfCorpus includes each Compose file of the corpora from a stack's file, so that
// all that it uses lies outside of the stack's folder.
func TestSliceOfCorpus(t *testing.T) {
	shared := os.Getenv("KTRDR_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	corpus := filepath.Join(shared, "compose")
	if _, err := os.Stat(corpus); err != nil {
		t.Skipf("SKIPPED: no corpus at %s; set KTRDR_SHARED", corpus)
	}
	root := outside(t)
	if err := os.CopyFS(filepath.Join(root, "corpus"), os.DirFS(corpus)); err != nil {
		t.Fatal(err)
	}
	stack := "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: s}\nspec: {workingDirectory: /opt/s, profiles: ['*']}\n"
	if err := os.WriteFile(filepath.Join(root, "stacks/s/stack.yaml"), []byte(stack), 0o600); err != nil {
		t.Fatal(err)
	}
	reached := 0
	for _, file := range corpusFiles(t, root) {
		compose := "include: [{path: ../../" + file + "}]\n"
		if err := os.WriteFile(filepath.Join(root, "stacks/s/compose.yaml"), []byte(compose), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := paths(sameAlone(t, root, "n")); slices.Contains(got, file) {
			reached++
		}
	}
	if reached < 50 {
		t.Errorf("only %d files of the corpus are in their slices", reached)
	}
}

func corpusFiles(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	err := fs.WalkDir(os.DirFS(root), "corpus", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !slices.Contains([]string{".yml", ".yaml"}, filepath.Ext(name)) {
			return err
		}
		data, err := os.ReadFile(filepath.Join(root, name))
		if bytes.Contains(data, []byte("\nservices:")) || bytes.HasPrefix(data, []byte("services:")) {
			out = append(out, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
