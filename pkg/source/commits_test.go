package source_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/source/sourcetest"
)

func openCommits(t testing.TB, limits source.Limits) *source.Commits {
	t.Helper()
	commits, err := source.OpenCommits(filepath.Join(t.TempDir(), "cache"), limits)
	if err != nil {
		t.Fatal(err)
	}
	return commits
}

// TestCommits reads any commit, packed or loose, again and again.
func TestCommits(t *testing.T) {
	r := newGitRepo(t)
	first := r.commit(t, sourcetest.Files{"a": sourcetest.Text("one")})
	r.git(t, r.bare, "gc", "-q")
	second := r.commit(t, sourcetest.Files{"a": sourcetest.Text("two"), "b/c": sourcetest.Text("x")})
	commits := openCommits(t, source.Limits{})
	var wg sync.WaitGroup
	for _, id := range []string{second, first, second, first} {
		wg.Go(func() {
			tree, err := commits.Tree(t.Context(), id, r.bare)
			if err != nil || tree.Revision.ID != id {
				t.Errorf("commit %s: %v", id, err)
			}
		})
	}
	wg.Wait()
	tree, err := commits.Tree(t.Context(), first)
	if err != nil {
		t.Fatalf("a tree in the cache needs no repository: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(tree.Dir, "a"))
	if err != nil || string(data) != "one" {
		t.Errorf("a is %q, %v", data, err)
	}
	if err := commits.Remove(first); err != nil {
		t.Fatal(err)
	}
	if err := commits.Remove(first); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	if _, err := os.Stat(tree.Dir); !os.IsNotExist(err) {
		t.Errorf("the tree is still there: %v", err)
	}
	if err := commits.Prune(second); err != nil {
		t.Fatal(err)
	}
	if _, err := commits.Tree(t.Context(), second); err != nil {
		t.Errorf("a kept tree is gone: %v", err)
	}
}

// TestCommitsAtOnce: a tree that one reads stays whole while others make the same one.
func TestCommitsAtOnce(t *testing.T) {
	r := newGitRepo(t)
	files := sourcetest.Files{}
	for i := range 40 {
		files[fmt.Sprintf("f%d", i)] = sourcetest.Text("x")
	}
	id := r.commit(t, files)
	for range 10 {
		commits := openCommits(t, source.Limits{})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				tree, err := commits.Tree(t.Context(), id, r.bare)
				if err != nil {
					t.Error(err)
					return
				}
				root, err := os.OpenRoot(tree.Dir)
				if err != nil {
					t.Error(err)
					return
				}
				defer root.Close() //nolint:errcheck // it was only read
				for range 20 {
					for name := range files {
						if _, err := root.Stat(name); err != nil {
							t.Errorf("a file is gone under its reader: %v", err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
	}
}

// TestCommitsOfQuarantine finds objects in two repositories that are incomplete alone.
func TestCommitsOfQuarantine(t *testing.T) {
	r := newGitRepo(t)
	first := r.commit(t, sourcetest.Files{"a": sourcetest.Text("one"), "big": sourcetest.Text(strings.Repeat("x", 1000))})
	incoming := filepath.Join(r.base, "incoming")
	if err := os.MkdirAll(filepath.Join(incoming, "objects"), 0o755); err != nil {
		t.Fatal(err)
	}
	blob := r.git(t, r.bare, "rev-parse", first+":a")
	name := filepath.Join("objects", blob[:2], blob[2:])
	if err := os.MkdirAll(filepath.Dir(filepath.Join(incoming, name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(r.bare, name), filepath.Join(incoming, name)); err != nil {
		t.Fatal(err)
	}
	commits := openCommits(t, source.Limits{})
	if _, err := commits.Tree(t.Context(), first, r.bare); source.ReasonOf(err) != source.ReasonInvalid {
		t.Errorf("an incomplete repository: %v", err)
	}
	if _, err := commits.Tree(t.Context(), first, incoming, r.bare); err != nil {
		t.Error(err)
	}
}

func TestCommitsErrors(t *testing.T) {
	r := newGitRepo(t)
	id := r.commit(t, sourcetest.Files{"a": sourcetest.Text("12345678")})
	for name, c := range map[string]struct {
		id, dir string
		limits  source.Limits
		want    source.Reason
	}{
		"short":       {id[:7], r.bare, source.Limits{}, source.ReasonInvalid},
		"path":        {"../../../../../../../../../../../../etc", r.bare, source.Limits{}, source.ReasonInvalid},
		"unknown":     {strings.Repeat("0", 40), r.bare, source.Limits{}, source.ReasonInvalid},
		"a blob":      {r.git(t, r.bare, "rev-parse", id+":a"), r.bare, source.Limits{}, source.ReasonInvalid},
		"no folder":   {id, r.bare + ".not", source.Limits{}, source.ReasonRepositoryNotFound},
		"over limits": {id, r.bare, source.Limits{MaxBytes: 4}, source.ReasonTooLarge},
	} {
		_, err := openCommits(t, c.limits).Tree(t.Context(), c.id, c.dir)
		if source.ReasonOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := source.OpenCommits(t.TempDir(), source.Limits{MaxFiles: -1}); err == nil {
		t.Error("negative limits are refused")
	}
}
