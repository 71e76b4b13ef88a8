package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// updateAttempts bounds compare-and-swap: each lost round was somebody else's success.
const updateAttempts = 64

// Create writes a record that must not exist yet (ErrExists).
func (t *Table[T]) Create(ctx context.Context, value T) error {
	if t.kind.bump != nil {
		t.kind.bump(&value)
	}
	key, raw, err := t.encode(value)
	if err != nil {
		return t.failed("create", key, err)
	}
	done, err := t.swap(ctx, change[T]{key: key, value: &value, raw: raw})
	if err == nil && !done {
		err = ErrExists
	}
	if err != nil {
		return t.failed("create", key, err)
	}
	return nil
}

// Put writes a record whatever was there: the last one wins. A generation stays as given.
func (t *Table[T]) Put(ctx context.Context, value T) error {
	key, raw, err := t.encode(value)
	if err != nil {
		return t.failed("write", key, err)
	}
	if t.kind.index == nil {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		if _, err := t.store.client.Put(call, t.path(key), string(raw)); err != nil {
			return t.failed("write", key, classify(ctx, err))
		}
		return nil
	}
	err = t.retry(ctx, func() (bool, error) {
		old, err := t.load(ctx, key)
		switch {
		case errors.Is(err, ErrNotFound):
			return t.swap(ctx, change[T]{key: key, value: &value, raw: raw})
		case err != nil:
			return false, err
		}
		return t.swap(ctx, change[T]{key: key, old: &old, value: &value, raw: raw})
	})
	if err != nil {
		return t.failed("write", key, err)
	}
	return nil
}

// Update reads a record, lets change alter it and writes it if nobody else wrote in between,
// else does that again, up to 64 times (then ErrConflict). change may therefore run several
// times; its error ends the update and is returned wrapped. What change leaves as it was is
// not written. Returns the record as it is now.
func (t *Table[T]) Update(ctx context.Context, key string, alter func(*T) error) (T, error) {
	var result T
	err := t.retry(ctx, func() (bool, error) {
		old, err := t.load(ctx, key)
		if err != nil {
			return false, err
		}
		// A copy of its own: slices of the old value must not change under the index.
		next, err := t.decode(key, old.raw, old.revision)
		if err != nil {
			return false, err
		}
		if err := alter(&next.value); err != nil {
			return false, err
		}
		if t.kind.key(next.value) != key {
			return false, fmt.Errorf("%w: an update can't rename it to %q", ErrInvalid, t.kind.key(next.value))
		}
		result = next.value
		_, raw, err := t.encode(next.value)
		if err != nil || bytes.Equal(raw, old.raw) {
			return err == nil, err
		}
		if t.kind.bump != nil {
			t.kind.bump(&result)
			if _, raw, err = t.encode(result); err != nil {
				return false, err
			}
		}
		return t.swap(ctx, change[T]{key: key, old: &old, value: &result, raw: raw})
	})
	if err != nil {
		return result, t.failed("update", key, err)
	}
	return result, nil
}

// Delete removes a record; ErrNotFound if there is none.
func (t *Table[T]) Delete(ctx context.Context, key string) error {
	err := t.retry(ctx, func() (bool, error) {
		old, err := t.load(ctx, key)
		if err != nil {
			return false, err
		}
		return t.swap(ctx, change[T]{key: key, old: &old})
	})
	if err != nil {
		return t.failed("delete", key, err)
	}
	return nil
}

// change is one record's way from old (nil: must not exist) to value (nil: delete).
type change[T any] struct {
	key   string
	old   *entry[T]
	value *T
	raw   []byte
	// with is done in the same transaction, under ifs.
	ifs  []clientv3.Cmp
	with []clientv3.Op
	// lease is what the record goes with; 0 = it stays.
	lease clientv3.LeaseID
}

// swap is one transaction: false when something else than expected was there.
func (t *Table[T]) swap(ctx context.Context, c change[T]) (bool, error) {
	path := t.path(c.key)
	ifs := append([]clientv3.Cmp{absent(path)}, c.ifs...)
	if c.old != nil {
		ifs[0] = clientv3.Compare(clientv3.ModRevision(path), "=", c.old.revision)
	}
	ops := append([]clientv3.Op{clientv3.OpDelete(path)}, c.with...)
	if c.value != nil {
		ops[0] = clientv3.OpPut(path, string(c.raw), clientv3.WithLease(c.lease))
	}
	if t.kind.index != nil {
		indexIfs, indexOps := t.reindex(c)
		ifs, ops = append(ifs, indexIfs...), append(ops, indexOps...)
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := t.store.client.Txn(call).If(ifs...).Then(ops...).Commit()
	if err != nil {
		return false, classify(ctx, err)
	}
	return answer.Succeeded, nil
}

// reindex moves the index key along with its record. A new one must be free.
func (t *Table[T]) reindex(c change[T]) ([]clientv3.Cmp, []clientv3.Op) {
	var before, after string
	if c.old != nil {
		before = t.kind.index(c.old.value)
	}
	if c.value != nil {
		after = t.kind.index(*c.value)
	}
	if before == after {
		return nil, nil
	}
	var ifs []clientv3.Cmp
	var ops []clientv3.Op
	if before != "" {
		ops = append(ops, clientv3.OpDelete(t.indexPath(before)))
	}
	if after != "" {
		ifs = append(ifs, absent(t.indexPath(after)))
		ops = append(ops, clientv3.OpPut(t.indexPath(after), c.key))
	}
	return ifs, ops
}

// lookup finds a record by its index.
func (t *Table[T]) lookup(ctx context.Context, value string) (T, error) {
	var none T
	if err := checkKey(value); err != nil {
		return none, err
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := t.store.client.Get(call, t.indexPath(value))
	if err != nil {
		return none, t.failed("look up", "", classify(ctx, err))
	}
	if len(got.Kvs) == 0 {
		return none, t.failed("look up", "", ErrNotFound)
	}
	found, err := t.load(ctx, string(got.Kvs[0].Value))
	if err != nil {
		return none, err
	}
	if t.kind.index(found.value) != value { // changed between the two reads
		return none, t.failed("look up", "", ErrNotFound)
	}
	return found.value, nil
}

// retry runs attempt until it is done, fails, or has lost too often.
func (t *Table[T]) retry(ctx context.Context, attempt func() (bool, error)) error {
	for round := range updateAttempts {
		done, err := attempt()
		if done || err != nil {
			return err
		}
		pause := time.NewTimer(rand.N(time.Duration(round+1) * time.Millisecond)) //nolint:gosec // no secret: spreads writers
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
	return fmt.Errorf("%w, %d times in a row", ErrConflict, updateAttempts)
}
