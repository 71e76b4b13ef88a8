package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ktrdr.io/fleet/pkg/desired/edit"
	"ktrdr.io/fleet/pkg/source"
)

// accepted reads the history up to the accepted head.
type accepted struct {
	objects

	// key reads the head from the store.
	key func(ctx context.Context) (string, error)
	// fetch brings a commit that is not here yet; nil when all are.
	fetch func(ctx context.Context, id string) error
	// gitDirs are where objects are looked for.
	gitDirs []string
}

// Head returns the accepted head. The error wraps ErrEmpty when there is none.
func (r *accepted) Head(ctx context.Context) (Commit, error) {
	head, err := r.key(ctx)
	if err != nil {
		return Commit{}, fmt.Errorf("read the accepted head: %w", err)
	}
	if head == "" {
		return Commit{}, ErrEmpty
	}
	if r.fetch != nil {
		if err := r.fetch(ctx, head); err != nil {
			return Commit{}, err
		}
	}
	return r.show(ctx, head)
}

// Resolve finds the revision that a hash, or the first four or more characters of one, names.
func (r *accepted) Resolve(ctx context.Context, rev string) (Commit, error) {
	head, err := r.Head(ctx)
	if err != nil {
		return Commit{}, err
	}
	return r.resolve(ctx, head.ID, rev)
}

// Tree returns the checkout of a revision. It stays until a Prune that does not keep it.
func (r *accepted) Tree(ctx context.Context, rev string) (source.Tree, error) {
	if r.fetch != nil {
		if err := r.fetch(ctx, rev); err != nil {
			return source.Tree{}, err
		}
	}
	return r.trees.Tree(ctx, rev, r.gitDirs...)
}

// Prune removes the checkouts of all revisions but those in keep.
func (r *accepted) Prune(keep ...string) error { return r.trees.Prune(keep...) }

// History returns accepted commits, the newest first.
func (r *accepted) History(ctx context.Context, q HistoryQuery) ([]Commit, error) {
	head, err := r.Head(ctx)
	if errors.Is(err, ErrEmpty) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return r.history(ctx, head.ID, q)
}

// Diff compares two revisions; a "" compares with nothing.
func (r *accepted) Diff(ctx context.Context, a, b string) (Diff, error) {
	return r.diff(ctx, a, b)
}

// Commit writes a commit with edits on top of base and returns its hasa. The head stays: see
// Change.
func (r *accepted) Commit(ctx context.Context, base string, edits []edit.Edit, who Who, message string) (string, error) {
	if _, err := r.show(ctx, base); err != nil {
		return "", err
	}
	return r.commitEdits(ctx, base, edits, commitHeader{who, message, time.Now()})
}
