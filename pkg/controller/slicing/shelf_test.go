package slicing_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/source"
)

// disk has a tree for each revision: one node with one stack, whose file says the revision.
type disk struct {
	t   testing.TB
	dir string

	mu     sync.Mutex
	opened map[string]int
	fail   error
}

func newDisk(t testing.TB) *disk { return &disk{t: t, dir: t.TempDir(), opened: map[string]int{}} }

func (d *disk) Tree(_ context.Context, revision string) (source.Tree, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened[revision]++
	return source.Tree{Dir: d.write(revision), Revision: source.Revision{ID: revision}}, d.fail
}

func (d *disk) write(revision string) string {
	dir := filepath.Join(d.dir, revision)
	for path, content := range map[string]string{
		"fleet.yaml":               "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: test}\nspec: {}\n",
		"nodes/a.yaml":             "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: a}\nspec: {stacks: [{name: core}]}\n",
		"stacks/core/stack.yaml":   "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: core}\nspec: {compose: [compose.yaml]}\n",
		"stacks/core/compose.yaml": "services: {web: {image: 'example:" + revision + "'}}\n",
	} {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			d.t.Fatal(err)
		}
	}
	return dir
}

func (d *disk) times(revision string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.opened[revision]
}

// says is the content of the stack's Compose file in the slice of node a.
func says(t *testing.T, cut *slicing.Cut) string {
	t.Helper()
	message, err := cut.Message(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var all string
	for _, each := range message.GetContents() {
		all += string(each.GetContent())
	}
	return all
}

// TestShelfKeepsWhatWasUsedLast: four revisions stay open, however many were asked for, and a
// slice of one that was put away can still be sent.
func TestShelfKeepsWhatWasUsedLast(t *testing.T) {
	t.Parallel()
	trees := newDisk(t)
	shelf := slicing.NewShelf(trees)
	defer func() { _ = shelf.Close() }()
	cuts := map[string]*slicing.Cut{}
	for _, revision := range []string{"r0", "r1", "r2", "r3", "r0", "r4", "r0"} {
		cut, err := shelf.Cut(t.Context(), revision, "a")
		if err != nil {
			t.Fatal(err)
		}
		cuts[revision] = cut
	}
	open := shelf.Revisions()
	slices.Sort(open)
	if want := []string{"r0", "r2", "r3", "r4"}; !slices.Equal(open, want) || trees.times("r0") != 1 {
		t.Errorf("open are %q, want %q; r0 was opened %d times", open, want, trees.times("r0"))
	}
	for revision, cut := range cuts {
		if got, want := says(t, cut), "example:"+revision; !strings.Contains(got, want) {
			t.Errorf("%s says %q, want %q in it", revision, got, want)
		}
	}
	if _, err := shelf.Cut(t.Context(), "r1", "a"); err != nil || trees.times("r1") != 2 {
		t.Errorf("r1 anew: %v, opened %d times", err, trees.times("r1"))
	}
}

// TestShelfTriesAgain: a revision that could not be opened is tried anew by the next one who asks.
func TestShelfTriesAgain(t *testing.T) {
	t.Parallel()
	trees := newDisk(t)
	shelf := slicing.NewShelf(trees)
	defer func() { _ = shelf.Close() }()
	trees.fail = errors.New("the disk is away")
	if _, err := shelf.Cut(t.Context(), "r0", "a"); !errors.Is(err, trees.fail) {
		t.Errorf("error %v", err)
	}
	trees.fail = nil
	if _, err := shelf.Cut(t.Context(), "r0", "a"); err != nil {
		t.Error(err)
	}
	if got := trees.times("r0"); got != 2 {
		t.Errorf("opened %d times", got)
	}
}

// TestPreparedTreeNeedsNoDisk: what was made before the folder went away is sent without it.
func TestPreparedTreeNeedsNoDisk(t *testing.T) {
	t.Parallel()
	trees := newDisk(t)
	shelf := slicing.NewShelf(trees)
	defer func() { _ = shelf.Close() }()
	dir := trees.write("r0")
	made, err := slicing.Open(source.Tree{Dir: dir, Revision: source.Revision{ID: "r0"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := made.Digests(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(shelf.Prepare(t.Context(), made), made.Close(), os.RemoveAll(dir)); err != nil {
		t.Fatal(err)
	}
	cut, err := shelf.Cut(t.Context(), "r0", "a")
	if err != nil {
		t.Fatal(err)
	}
	if got := says(t, cut); !strings.Contains(got, "example:r0") || trees.times("r0") != 0 {
		t.Errorf("says %q, opened %d times", got, trees.times("r0"))
	}
}
