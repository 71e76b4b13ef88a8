package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/source"
)

// twoBells is a source whose tree the test changes.
type twoBells struct {
	source.Source

	tree           source.Tree
	fetched        int
	early, changes chan struct{}
}

func (s *twoBells) Fetch(context.Context, string) (source.Tree, error) {
	s.fetched++
	return s.tree, nil
}
func (s *twoBells) Changes() <-chan struct{} { return s.changes }
func (s *twoBells) Prune(...string) error    { return nil }

// change puts another revision in place, whose variable names it.
func (s *twoBells) change(t *testing.T, id string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"fleet.yaml":   "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: f}\nspec: {}\n",
		"nodes/a.yaml": "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: a}\nspec: {stacks: []}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.tree = source.Tree{Revision: source.Revision{ID: id}, Dir: dir}
}

// TestReadsAhead: what a source has when it begins to change is read, and put in force only
// once the source says that the change is complete, if it is still that revision.
func TestReadsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &twoBells{early: make(chan struct{}, 1), changes: make(chan struct{}, 1)}
		src.change(t, "one")
		var accepted []string
		f := &follower{
			src: src, early: src.early, poll: time.Hour, node: "a", log: slog.New(slog.DiscardHandler),
			sync: make(chan struct{}, 1), looked: make(chan struct{}),
			accept:  func(_ context.Context, d *api.Desired, _ source.Revision) { accepted = append(accepted, d.Revision) },
			refused: func(_ source.Revision, c *api.Condition) { t.Errorf("refused: %v", c) },
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.run(ctx) }()
		synctest.Wait()
		expect := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			if len(accepted) != len(want) || accepted[len(accepted)-1] != want[len(want)-1] {
				t.Fatalf("%s: accepted %q, want %q", what, accepted, want)
			}
		}
		expect("start", "one")

		src.change(t, "half")
		src.early <- struct{}{}
		expect("half of a change", "one")
		src.change(t, "two")
		src.changes <- struct{}{}
		expect("the whole change", "one", "two")

		src.change(t, "three")
		src.early <- struct{}{}
		expect("before it is complete", "one", "two")
		if err := os.RemoveAll(src.tree.Dir); err != nil { // whoever reads it again fails
			t.Fatal(err)
		}
		src.changes <- struct{}{}
		expect("read ahead", "one", "two", "three")
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}
