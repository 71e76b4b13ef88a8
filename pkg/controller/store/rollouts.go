package store

import (
	"context"
	"fmt"
	"iter"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// keepRollouts is how many stay besides the current one.
const keepRollouts = 50

// CurrentRollout returns the one that was started last; ErrNotFound before the first.
func (s *Store) CurrentRollout(ctx context.Context) (Rollout, error) {
	newest, err := s.Rollouts(ctx, 1)
	if err != nil {
		return Rollout{}, err
	}
	if len(newest) == 0 {
		return Rollout{}, s.rollouts.failed("read", "", ErrNotFound)
	}
	return newest[0], nil
}

// Rollouts returns up to limit, the newest first; 0 = all that are kept.
func (s *Store) Rollouts(ctx context.Context, limit int) ([]Rollout, error) {
	return s.rollouts.first(ctx, s.rollouts.folder(), limit)
}

// NewestRollout returns etcd's revision of the last change of the rollout that was started last, as
// the Revision of a Change has it; 0 before the first. It is read from the quorum and costs the
// same however large the rollout is.
func (s *Store) NewestRollout(ctx context.Context) (int64, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := s.client.Get(call, s.rollouts.folder(), clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil {
		return 0, s.rollouts.failed("look at the newest of", "", classify(ctx, err))
	}
	if len(got.Kvs) == 0 {
		return 0, nil
	}
	return got.Kvs[0].ModRevision, nil
}

// StartRollout makes next the current one if number after is still the current one (0 =
// there was none), else ErrConflict. It sets number and generation, and drops what is
// older than the 50 before.
func (s *Store) StartRollout(ctx context.Context, after int64, next Rollout) (Rollout, error) {
	next.Number, next.Generation = after+1, 1
	key, raw, err := s.rollouts.encode(next)
	if err != nil {
		return Rollout{}, fmt.Errorf("start rollout %d: %w", next.Number, err)
	}
	step := change[Rollout]{key: key, value: &next, raw: raw}
	if after > 0 {
		before := s.rollouts.path(descending(after))
		step.ifs = []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(before), ">", 0)}
	}
	if old := next.Number - keepRollouts - 1; old > 0 {
		step.with = []clientv3.Op{clientv3.OpDelete(s.rollouts.path(descending(old)))}
	}
	done, err := s.rollouts.swap(ctx, step)
	if err == nil && !done {
		err = ErrConflict
	}
	if err != nil {
		return Rollout{}, fmt.Errorf("start rollout %d: %w", next.Number, err)
	}
	return next, nil
}

// UpdateRollout replaces the data of a rollout if it still has the generation, else
// ErrConflict. It returns the rollout with its new generation.
func (s *Store) UpdateRollout(ctx context.Context, number, generation int64, data []byte) (Rollout, error) {
	updated, err := s.rollouts.Update(ctx, descending(number), func(r *Rollout) error {
		if r.Generation != generation {
			return fmt.Errorf("it has generation %d, not %d: %w", r.Generation, generation, ErrConflict)
		}
		r.Data = data
		return nil
	})
	if err != nil {
		return Rollout{}, fmt.Errorf("rollout %d: %w", number, err)
	}
	return updated, nil
}

// WatchRollouts gives rollouts and their changes, as Table.Watch does.
func (s *Store) WatchRollouts(ctx context.Context, from int64) iter.Seq[Change[Rollout]] {
	return s.rollouts.Watch(ctx, from)
}
