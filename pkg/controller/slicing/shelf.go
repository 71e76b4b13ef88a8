package slicing

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"ktrdr.io/fleet/pkg/source"
)

// maxOpen is how many revisions a shelf keeps open: what nodes are to have, which is one
// revision most of the time, and what was before.
const maxOpen = 4

// Trees brings revisions to disk. A tree stays as long as the process uses it.
type Trees interface {
	Tree(ctx context.Context, revision string) (source.Tree, error)
}

// Shelf keeps the slices of the revisions that were asked for last. Safe for concurrent use.
type Shelf struct {
	trees Trees

	mu   sync.Mutex
	open map[string]*opening
	turn uint64
	// prepared are trees of revisions that are about to be asked for.
	prepared map[string]*Tree
}

// maxPrepared bounds revisions that were prepared and then not asked for.
const maxPrepared = 4

// Prepare takes over what was made of a tree that will go away: when the same revision is
// asked for, its slices and small files are there at once, and the checkout comes later, if
// ever somebody needs it. Errors are those of reading the tree.
func (s *Shelf) Prepare(ctx context.Context, t *Tree) error {
	made, err := t.detached(ctx)
	if err != nil {
		return err
	}
	revision := t.at.Revision.ID
	made.checkout = func(ctx context.Context) (source.Tree, error) { return s.trees.Tree(ctx, revision) }
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.prepared == nil || len(s.prepared) >= maxPrepared {
		s.prepared = map[string]*Tree{}
	}
	s.prepared[revision] = made
	return nil
}

// take returns the tree that was prepared for a revision; nil for none.
func (s *Shelf) take(revision string) *Tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	made := s.prepared[revision]
	delete(s.prepared, revision)
	return made
}

// opening is a revision that is open, or on its way.
type opening struct {
	done chan struct{}
	tree *Tree
	err  error
	used uint64
}

// NewShelf makes an empty shelf.
func NewShelf(trees Trees) *Shelf { return &Shelf{trees: trees, open: map[string]*opening{}} }

// Tree returns a revision, opened once however many ask for it.
func (s *Shelf) Tree(ctx context.Context, revision string) (*Tree, error) {
	s.mu.Lock()
	o, ok := s.open[revision]
	if !ok {
		o = &opening{done: make(chan struct{})}
		s.open[revision] = o
	}
	s.turn++
	o.used = s.turn
	old := s.surplus()
	s.mu.Unlock()
	for _, each := range old {
		each.tree.release()
	}
	if !ok {
		// One caller opens for all: it must not give up because it was the one that went away.
		s.fill(context.WithoutCancel(ctx), revision, o)
	}
	select {
	case <-o.done:
		return o.tree, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("open revision %s: %w", revision, context.Cause(ctx))
	}
}

func (s *Shelf) fill(ctx context.Context, revision string, o *opening) {
	defer close(o.done)
	if o.tree = s.take(revision); o.tree != nil {
		return
	}
	tree, err := s.trees.Tree(ctx, revision)
	if err == nil {
		o.tree, err = Open(tree)
	}
	if err == nil {
		return
	}
	o.err = fmt.Errorf("open revision %s: %w", revision, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, revision) // tried anew by the next one who asks
}

// surplus takes the least used revision out when there are too many. Called with mu held.
func (s *Shelf) surplus() []*opening {
	var out []*opening
	for len(s.open) > maxOpen {
		var oldest string
		for revision, o := range s.open {
			select {
			case <-o.done:
			default:
				continue // on its way
			}
			if oldest == "" || o.used < s.open[oldest].used {
				oldest = revision
			}
		}
		if oldest == "" {
			break
		}
		out = append(out, s.open[oldest])
		delete(s.open, oldest)
	}
	return out
}

// Cut returns the slice of a node.
func (s *Shelf) Cut(ctx context.Context, revision, node string) (*Cut, error) {
	tree, err := s.Tree(ctx, revision)
	if err != nil {
		return nil, err
	}
	return tree.Cut(ctx, node)
}

// Revisions are those that are open: their trees have to stay on disk.
func (s *Shelf) Revisions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, 0, len(s.open))
	for revision := range s.open {
		out = append(out, revision)
	}
	return out
}

// Close closes all trees.
func (s *Shelf) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for revision, o := range s.open {
		delete(s.open, revision)
		if o.tree != nil {
			errs = append(errs, o.tree.Close())
		}
	}
	return errors.Join(errs...)
}
