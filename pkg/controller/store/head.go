package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// headKey is the only key of its table.
const headKey = "accepted"

// Head returns the accepted head; ErrNotFound before the first one.
func (s *Store) Head(ctx context.Context) (Head, error) { return s.heads.Get(ctx, headKey) }

// AdvanceHead accepts next if the head is still at expected ("" = there is none yet), else
// ErrConflict. Of all controllers that try at once, one succeeds. It gives next its
// generation and returns it. A second call with the same next after ErrUnavailable succeeds
// if the first one was done.
func (s *Store) AdvanceHead(ctx context.Context, expected string, next Head) (Head, error) {
	if next.Revision == "" {
		return Head{}, fmt.Errorf("advance the head: %w: no revision", ErrInvalid)
	}
	old, err := s.heads.load(ctx, headKey)
	step := change[Head]{key: headKey, value: &next}
	switch {
	case errors.Is(err, ErrNotFound) && expected == "":
	case errors.Is(err, ErrNotFound):
		return Head{}, fmt.Errorf("advance the head from %s: there is none: %w", expected, ErrConflict)
	case err != nil:
		return Head{}, err
	case old.value.Revision == next.Revision && repeated(old.value, next):
		return old.value, nil
	case old.value.Revision != expected:
		return Head{}, fmt.Errorf("advance the head from %q: it is at %s: %w", expected, old.value.Revision, ErrConflict)
	default:
		step.old = &old
	}
	next.Generation = old.value.Generation + 1
	if _, step.raw, err = s.heads.encode(next); err != nil {
		return Head{}, fmt.Errorf("advance the head to %s: %w", next.Revision, err)
	}
	done, err := s.heads.swap(ctx, step)
	if err == nil && !done {
		err = ErrConflict
	}
	if err != nil {
		return Head{}, fmt.Errorf("advance the head to %s: %w", next.Revision, err)
	}
	return next, nil
}

// repeated tells whether next is what old was made of.
func repeated(old, next Head) bool {
	return old.Parent == next.Parent && old.By == next.By && old.AcceptedAt.Equal(next.AcceptedAt)
}

// WatchHead gives the head and its changes, as Table.Watch does.
func (s *Store) WatchHead(ctx context.Context, from int64) iter.Seq[Change[Head]] {
	return s.heads.Watch(ctx, from)
}
