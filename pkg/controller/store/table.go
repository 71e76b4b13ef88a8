package store

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// pageKeys bounds one answer when a table is listed.
	pageKeys = 256
	// listAttempts bounds how often a listing begins anew because what it read was compacted.
	listAttempts = 5
)

// Table holds the records of one kind. Errors wrap ErrNotFound, ErrExists, ErrConflict,
// ErrUnavailable, ErrFull, ErrNewer or ErrInvalid and name the record.
type Table[T any] struct {
	store *Store
	kind  kind[T]
}

// kind is what a table knows about its records.
type kind[T any] struct {
	name  string // folder of the keys, below the prefix
	limit int    // most bytes of a record, encoded
	key   func(T) string
	codec codec[T]
	check func(T) error  // nil: all are fine
	bump  func(*T)       // raises the generation with each change; nil: has none
	index func(T) string // another key to find it by, "" = none; nil: no index
}

// entry is a record as etcd holds it.
type entry[T any] struct {
	key      string
	value    T
	raw      []byte
	revision int64
}

// newTable puts a kind into a store. A function, as methods have no type parameters.
func newTable[T any](s *Store, k kind[T]) *Table[T] { return &Table[T]{store: s, kind: k} }

func (t *Table[T]) folder() string { return t.store.prefix + t.kind.name + "/" }

func (t *Table[T]) path(key string) string { return t.folder() + key }

func (t *Table[T]) indexPath(value string) string {
	return t.store.prefix + "index/" + t.kind.name + "/" + value
}

// Get reads one record, from the quorum.
func (t *Table[T]) Get(ctx context.Context, key string) (T, error) {
	found, err := t.load(ctx, key)
	return found.value, err
}

func (t *Table[T]) load(ctx context.Context, key string) (entry[T], error) {
	var none entry[T]
	if err := checkKey(key); err != nil {
		return none, t.failed("read", key, err)
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := t.store.client.Get(call, t.path(key))
	if err != nil {
		return none, t.failed("read", key, classify(ctx, err))
	}
	if len(got.Kvs) == 0 {
		return none, t.failed("read", key, ErrNotFound)
	}
	kv := got.Kvs[0]
	return t.decode(key, kv.Value, kv.ModRevision)
}

func (t *Table[T]) decode(key string, raw []byte, revision int64) (entry[T], error) {
	value, err := t.kind.codec.decode(raw)
	if err == nil && t.kind.key(value) != key {
		err = fmt.Errorf("%w: it is the record of %q", ErrInvalid, t.kind.key(value))
	}
	if err != nil {
		return entry[T]{}, t.failed("read", key, err)
	}
	return entry[T]{key: key, value: value, raw: raw, revision: revision}, nil
}

func (t *Table[T]) encode(value T) (string, []byte, error) {
	key := t.kind.key(value)
	if err := checkKey(key); err != nil {
		return key, nil, err
	}
	if t.kind.check != nil {
		if err := t.kind.check(value); err != nil {
			return key, nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	raw, err := t.kind.codec.encode(value)
	if err != nil {
		return key, nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(raw) > t.kind.limit {
		return key, nil, fmt.Errorf("%w: %d bytes are more than %d", ErrInvalid, len(raw), t.kind.limit)
	}
	return key, raw, nil
}

// List reads all records at one revision, by key, in pages.
func (t *Table[T]) List(ctx context.Context) ([]T, error) { return t.first(ctx, t.folder(), 0) }

// first reads up to limit records from a key on (0 = all), at one revision.
func (t *Table[T]) first(ctx context.Context, from string, limit int) ([]T, error) {
	entries, _, err := t.scan(ctx, from, limit)
	if err != nil {
		return nil, err
	}
	values := make([]T, 0, len(entries))
	for _, each := range entries {
		values = append(values, each.value)
	}
	return values, nil
}

// scan also returns the revision that it read.
func (t *Table[T]) scan(ctx context.Context, from string, limit int) ([]entry[T], int64, error) {
	for range listAttempts {
		entries, revision, err := t.scanOnce(ctx, from, limit)
		if !errors.Is(err, errCompacted) {
			return entries, revision, err
		}
	}
	return nil, 0, t.failed("list", "", fmt.Errorf("%w: it is compacted faster than it can be read", ErrUnavailable))
}

func (t *Table[T]) scanOnce(ctx context.Context, from string, limit int) ([]entry[T], int64, error) {
	var entries []entry[T]
	var revision int64
	for {
		size := pageKeys
		if limit > 0 {
			size = min(size, limit-len(entries))
		}
		page, err := t.page(ctx, from, size, revision)
		if err != nil {
			return nil, 0, err
		}
		revision = page.Header.Revision
		for _, kv := range page.Kvs {
			found, err := t.decode(string(kv.Key[len(t.folder()):]), kv.Value, kv.ModRevision)
			if err != nil {
				return nil, 0, err
			}
			entries = append(entries, found)
		}
		if !page.More || (limit > 0 && len(entries) >= limit) {
			return entries, revision, nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

// page reads from a key on, at a revision (0 = the newest).
func (t *Table[T]) page(ctx context.Context, from string, size int, revision int64) (*clientv3.GetResponse, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	page, err := t.store.client.Get(call, from,
		clientv3.WithRange(rangeEnd(t.folder())), clientv3.WithLimit(int64(size)), clientv3.WithRev(revision))
	switch {
	case isCompacted(err):
		return nil, errCompacted
	case err != nil:
		return nil, t.failed("list", "", classify(ctx, err))
	}
	if revision != 0 {
		page.Header.Revision = revision // the header tells the newest one, not the one that was read
	}
	return page, nil
}

// failed names the record, or the table when key is empty.
func (t *Table[T]) failed(doing, key string, err error) error {
	if key == "" {
		return fmt.Errorf("%s %s: %w", doing, t.kind.name, err)
	}
	return fmt.Errorf("%s %s %s: %w", doing, t.kind.name, key, err)
}
