package report

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// maxEvents is how many events are kept.
const maxEvents = 1000

// Something that goes back and forth is told so often, and then not before it has been
// quiet for a while.
const (
	flapLimit = 5
	flapQuiet = 10 * time.Minute
	maxFlaps  = 2000
)

// incident is an event, and how the log tells it.
type incident struct {
	api.Event
	text  string // constant message of the log
	attrs []slog.Attr
}

// eventLog keeps the newest events in a ring.
type eventLog struct {
	log *slog.Logger

	mu   sync.Mutex
	ring []api.Event // ring[next] is the oldest once it is full
	next int
	seq  uint64
	// numbers reserves the next ones after limit is reached; nil for no limit.
	numbers func(from uint64) uint64
	limit   uint64
	changed chan struct{} // closed at the next event
	flaps   map[string]*flap
}

// flap counts one event that repeats.
type flap struct {
	count int
	last  time.Time
}

// ReservedNumbers is how many numbers of events are reserved at a time.
const ReservedNumbers = 10_000

// newEventLog numbers events from the present time in milliseconds, or from what was reserved
// before where the clock was set back: numbers grow across restarts, so that a reader which
// waits for what comes after the last one misses none.
func newEventLog(log *slog.Logger, numbers func(from uint64) uint64) *eventLog {
	l := &eventLog{
		log: log, seq: uint64(max(0, time.Now().UnixMilli())), numbers: numbers, //nolint:gosec // not negative
		changed: make(chan struct{}), flaps: map[string]*flap{},
	}
	l.reserve()
	return l
}

func (l *eventLog) reserve() {
	if l.numbers != nil {
		first := l.numbers(l.seq + 1)
		l.seq, l.limit = first-1, first-1+ReservedNumbers
	}
}

// add appends what is not held back, and logs it.
func (l *eventLog) add(list ...incident) {
	for _, e := range list {
		if l.append(&e) {
			l.write(&e)
		}
	}
}

func (l *eventLog) append(e *incident) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Time = time.Now()
	switch n := l.repeats(e); {
	case n > flapLimit:
		return false
	case n == flapLimit:
		e.Message += fmt.Sprintf(" (often: not told again before it has been quiet for %s)", flapQuiet)
	}
	if l.seq == l.limit {
		l.reserve()
	}
	l.seq++
	e.Seq = l.seq
	if len(l.ring) < maxEvents {
		l.ring = append(l.ring, e.Event)
	} else {
		l.ring[l.next] = e.Event
		l.next = (l.next + 1) % maxEvents
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return true
}

// repeats returns how often the same was said without a pause, this time included. The
// revision in force changes by itself, and is no flapping.
func (l *eventLog) repeats(e *incident) int {
	if e.Stack == "" && e.Object == "" {
		return 1
	}
	if len(l.flaps) >= maxFlaps {
		for key, f := range l.flaps {
			if e.Time.Sub(f.last) > flapQuiet {
				delete(l.flaps, key)
			}
		}
		if len(l.flaps) >= maxFlaps {
			clear(l.flaps)
		}
	}
	key := fmt.Sprintf("%s\n%s\n%s\n%s\n%s", e.Stack, e.Object, e.Reason, e.text, e.operation())
	f := l.flaps[key]
	if f == nil || e.Time.Sub(f.last) > flapQuiet {
		f = &flap{}
		l.flaps[key] = f
	}
	f.count++
	f.last = e.Time
	return f.count
}

func (e *incident) operation() string {
	for _, a := range e.attrs {
		if a.Key == "op" {
			return a.Value.String()
		}
	}
	return ""
}

func (l *eventLog) write(e *incident) {
	level := slog.LevelInfo
	switch e.Level {
	case levelWarn:
		level = slog.LevelWarn
	case levelError:
		level = slog.LevelError
	}
	attrs := []slog.Attr{slog.String("stack", e.Stack), slog.String("object", e.Object), slog.String("reason", string(e.Reason))}
	attrs = append(attrs, e.attrs...)
	attrs = append(attrs, slog.String("detail", e.Message))
	attrs = slices.DeleteFunc(attrs, func(a slog.Attr) bool { return a.Value.Kind() == slog.KindString && a.Value.String() == "" })
	l.log.LogAttrs(context.Background(), level, e.text, attrs...) //nolint:sloglint // text is constant where incidents are made
}

// after returns up to limit events with a higher number, oldest first. A number that this
// log never gave out means all of them.
func (l *eventLog) after(seq uint64, limit int) []api.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq > l.seq {
		seq = 0
	}
	list := []api.Event{}
	for i := range l.ring {
		e := l.ring[(l.next+i)%len(l.ring)]
		if e.Seq > seq && len(list) < limit {
			list = append(list, e)
		}
	}
	return list
}

// news returns a channel that is closed at the next event.
func (l *eventLog) news() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// Events returns up to limit events after number after, oldest first; 0 means from the
// oldest that is kept. A number from the future means the same.
func (r *Report) Events(after uint64, limit int) []api.Event { return r.events.after(after, limit) }

// News returns a channel that is closed at the next event.
func (r *Report) News() <-chan struct{} { return r.events.news() }

// WaitEvents is Events, but waits until there is one or ctx ends; then the list is empty.
func (r *Report) WaitEvents(ctx context.Context, after uint64, limit int) []api.Event {
	for {
		news := r.events.news()
		if list := r.events.after(after, limit); len(list) > 0 {
			return list
		}
		select {
		case <-ctx.Done():
			return []api.Event{}
		case <-news:
		}
	}
}
