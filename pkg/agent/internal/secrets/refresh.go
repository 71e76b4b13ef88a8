package secrets

import (
	"context"
	"slices"
)

// flight is one call of the provider that others may wait for.
type flight struct {
	refs []string // sorted
	done chan struct{}
	err  error
	// given up because the ctx of the one who started it ended
	abandoned bool
}

// Refresh resolves refs and keeps the last good value of each that fails. The error joins
// what failed; States tells it by reference. One call of the provider runs at a time: a
// caller whose references are all part of the running one shares its result, others wait
// for their turn. ctx bounds the waiting too.
func (s *Store) Refresh(ctx context.Context, refs []string) error {
	refs = slices.Compact(slices.Sorted(slices.Values(refs)))
	if len(refs) == 0 {
		return nil
	}
	for {
		running, mine := s.board(refs)
		if mine {
			s.fly(ctx, running)
			return running.err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-running.done:
		}
		if !running.abandoned && covers(running.refs, refs) {
			return running.err
		}
	}
}

// board returns the running flight, or starts one that the caller has to fly.
func (s *Store) board(refs []string) (running *flight, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight, false
	}
	s.flight = &flight{refs: refs, done: make(chan struct{})}
	return s.flight, true
}

func (s *Store) fly(ctx context.Context, f *flight) {
	defer func() {
		s.mu.Lock()
		s.flight = nil
		s.mu.Unlock()
		close(f.done)
	}()
	f.abandoned = true // until the provider returned, should it panic
	f.err = s.resolve(ctx, f.refs)
	f.abandoned = ctx.Err() != nil
}

func covers(have, want []string) bool {
	for _, ref := range want {
		if _, found := slices.BinarySearch(have, ref); !found {
			return false
		}
	}
	return true
}
