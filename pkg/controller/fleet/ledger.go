package fleet

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/store"
)

// Entry is a rollout as the store has it, with its record.
type Entry struct {
	Number, Generation int64
	Record             rollout.Record
}

// Ledger holds the head and the rollouts, current with the store, and tells of changes. Of those
// before the newest it holds the heads and what was packed of them.
type Ledger struct {
	log   *slog.Logger
	whole *store.Whole

	mu       sync.Mutex
	head     store.Head
	rollouts map[int64]packed
	newest   int64
	changed  chan struct{}
}

// NewLedger makes an empty one; Watch fills it.
func NewLedger(log *slog.Logger) *Ledger {
	return &Ledger{log: log, whole: store.NewWhole(2), rollouts: map[int64]packed{}, changed: make(chan struct{})}
}

// Watch keeps the ledger current until ctx ends.
func (l *Ledger) Watch(ctx context.Context, s *store.Store) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		synced := l.whole.Part()
		for change := range s.WatchHead(ctx, 0) {
			if change.What == store.Put {
				l.setHead(change.Value)
			}
			if change.What == store.Synced {
				synced()
			}
		}
		return nil
	})
	g.Go(func() error {
		synced := l.whole.Part()
		for change := range s.WatchRollouts(ctx, 0) {
			if change.What == store.Put {
				l.take(ctx, change.Value)
			}
			if change.What == store.Synced {
				synced()
			}
		}
		return nil
	})
	return g.Wait()
}

// Whole is closed when Watch has taken over all that the store had.
func (l *Ledger) Whole() <-chan struct{} { return l.whole.Done() }

func (l *Ledger) setHead(head store.Head) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if head.Generation > l.head.Generation {
		l.head = head
		l.notify()
	}
}

// take reads what the store has. What this controller drives is newer here than there.
func (l *Ledger) take(ctx context.Context, stored store.Rollout) {
	var record rollout.Record
	if err := json.Unmarshal(stored.Data, &record); err != nil {
		l.log.ErrorContext(ctx, "rollout can't be read", "number", stored.Number, "err", err)
		return
	}
	l.Show(Entry{Number: stored.Number, Generation: stored.Generation, Record: record})
}

// keepEntries is how many rollouts the store keeps as well.
const keepEntries = 51

// Show replaces what is known of a rollout, unless something newer is.
func (l *Ledger) Show(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.rollouts[e.Number]; ok && known.Generation > e.Generation {
		return
	}
	before := l.newest
	l.newest = max(l.newest, e.Number)
	for _, entry := range []packed{l.rollouts[before], {Entry: e}} {
		if entry.Number != 0 && entry.Number != l.newest {
			entry = entry.pack()
		}
		if entry.Number != 0 {
			l.rollouts[entry.Number] = entry
		}
	}
	for number := range l.rollouts {
		if number <= l.newest-keepEntries {
			delete(l.rollouts, number)
		}
	}
	l.notify()
}

func (l *Ledger) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Head returns the accepted head; its revision is empty before the first one.
func (l *Ledger) Head() store.Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Newest returns the newest rollout; false before the first one.
func (l *Ledger) Newest() (Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.rollouts[l.newest]
	return e.Entry, ok
}

// Moment is the head and what became of it, as they were together.
type Moment struct {
	Head store.Head
	// Newest is the newest rollout, of whatever revision; its number is 0 before the first one.
	Newest Entry
	// Of is the newest rollout of the head, maybe without its waves and targets; its number is
	// 0 until that begins.
	Of Entry
}

// Moment returns what is true now.
func (l *Ledger) Moment() Moment {
	l.mu.Lock()
	defer l.mu.Unlock()
	of, _ := l.locate(l.head.Revision)
	return Moment{Head: l.head, Newest: l.rollouts[l.newest].Entry, Of: of.Entry}
}

// Of returns the newest rollout of a revision.
func (l *Ledger) Of(revision string) (Entry, bool) {
	e, ok := l.find(revision)
	return e.unpack(), ok
}

// Outcome returns the newest rollout of a revision, maybe without its waves and targets.
func (l *Ledger) Outcome(revision string) (Entry, bool) {
	e, ok := l.find(revision)
	return e.Entry, ok
}

func (l *Ledger) find(revision string) (packed, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.locate(revision)
}

// locate is find for who holds the lock.
func (l *Ledger) locate(revision string) (packed, bool) {
	for _, number := range slices.Backward(slices.Sorted(maps.Keys(l.rollouts))) {
		if e := l.rollouts[number]; e.Record.Revision == revision {
			return e, true
		}
	}
	return packed{}, false
}

// Succeeded returns the revisions that were rolled out with success, the newest first.
func (l *Ledger) Succeeded() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, number := range slices.Backward(slices.Sorted(maps.Keys(l.rollouts))) {
		if r := l.rollouts[number].Record; r.Phase == rollout.Succeeded {
			out = append(out, r.Revision)
		}
	}
	return out
}

// Changed is closed at the next change of anything.
func (l *Ledger) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}
