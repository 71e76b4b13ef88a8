package store

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// retryPause is how long background work waits before it asks again when etcd is away.
const retryPause = 500 * time.Millisecond

// errCompacted: the revision is no longer kept. It never leaves this package.
var errCompacted = errors.New("compacted")

// What is what a Change says.
type What int

const (
	// Put says that the record is new, or is now like this.
	Put What = iota + 1
	// Deleted says that the record is gone; Value is empty.
	Deleted
	// Resync says that all records follow as Put, and then Synced; what does not come is gone.
	// A watch begins with it, and says it again when it missed changes that etcd no
	// longer has.
	Resync
	// Synced says that all records were given; from here on changes come as they happen.
	Synced
)

// Change is one step of a watch.
type Change[T any] struct {
	What  What
	Key   string
	Value T
	// Revision is where Watch can go on from. It never falls. Between two changes of one
	// transaction it is the one before, so that none is lost; the first then comes again.
	Revision int64
}

// Watch gives all records and then every change until ctx ends, in the caller's goroutine;
// with from > 0 (the Revision of a Change) only what came after it. Outages are waited out,
// and compacted history is made up for by Resync, so the loop ends with ctx or with break.
// A record that can't be read is logged and left out. A change of another table delays
// nothing.
func (t *Table[T]) Watch(ctx context.Context, from int64) iter.Seq[Change[T]] {
	return func(yield func(Change[T]) bool) {
		for ctx.Err() == nil {
			var ok bool
			if from == 0 {
				from, ok = t.resync(ctx, yield)
			} else {
				from, ok = t.follow(ctx, from, yield)
			}
			if !ok {
				return
			}
		}
	}
}

// resync gives all records; 0 when that has to be tried again.
func (t *Table[T]) resync(ctx context.Context, yield func(Change[T]) bool) (int64, bool) {
	entries, revision, err := t.scan(ctx, t.folder(), 0)
	if err != nil {
		t.store.log.WarnContext(ctx, "watch waits for etcd", "table", t.kind.name, "err", err)
		return 0, pause(ctx)
	}
	if !yield(Change[T]{What: Resync, Revision: revision}) {
		return 0, false
	}
	for _, each := range entries {
		if !yield(Change[T]{What: Put, Key: each.key, Value: each.value, Revision: revision}) {
			return 0, false
		}
	}
	return revision, yield(Change[T]{What: Synced, Revision: revision})
}

// follow gives changes after a revision until the watch breaks. It returns where to go on,
// 0 for a new start, and false when the caller has enough.
func (t *Table[T]) follow(ctx context.Context, from int64, yield func(Change[T]) bool) (int64, bool) {
	watch, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for answer := range t.store.client.Watch(watch, t.folder(), clientv3.WithPrefix(),
		clientv3.WithRev(from+1), clientv3.WithProgressNotify()) {
		if err := answer.Err(); err != nil {
			if isCompacted(err) {
				return 0, true
			}
			t.store.log.WarnContext(ctx, "watch waits for etcd", "table", t.kind.name, "err", err)
			break
		}
		for i, event := range answer.Events {
			found, ok := t.changed(ctx, event)
			if i+1 < len(answer.Events) && answer.Events[i+1].Kv.ModRevision == found.Revision {
				found.Revision-- // the rest of the transaction is still to come
			}
			from = found.Revision
			if ok && !yield(found) {
				return from, false
			}
		}
		if answer.IsProgressNotify() {
			from = answer.Header.Revision
		}
	}
	return from, pause(ctx)
}

func (t *Table[T]) changed(ctx context.Context, event *clientv3.Event) (Change[T], bool) {
	found := Change[T]{What: Deleted, Key: strings.TrimPrefix(string(event.Kv.Key), t.folder()), Revision: event.Kv.ModRevision}
	if event.Type == mvccpb.Event_DELETE {
		return found, true
	}
	record, err := t.decode(found.Key, event.Kv.Value, event.Kv.ModRevision)
	if err != nil {
		t.store.log.ErrorContext(ctx, "record is left out", "err", err)
		return found, false
	}
	found.What, found.Value = Put, record.value
	return found, true
}

func isCompacted(err error) bool { return errors.Is(err, rpctypes.ErrCompacted) }

// pause waits; false when ctx ended.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(retryPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
