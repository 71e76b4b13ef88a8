package enginetest

import (
	"context"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

const (
	// history is how many past events the engine can replay, as in Docker.
	history = 256
	// backlog is how far a reader may be behind, as with the client.
	backlog = 4096
)

// bus delivers events, well or badly.
type bus struct {
	past    []engine.Event
	streams map[*stream]bool
	// drop, twice and shuffle count the events to come that are lost, delivered twice, and
	// held back to be delivered in random order.
	drop, twice, shuffle int
	held                 []engine.Event
	keep                 func(engine.Event) bool
}

type stream struct {
	queue []engine.Event
	ended bool
	wake  chan struct{}
}

func (s *stream) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Events delivers events from since on (zero: from now on). Both channels are closed
// after exactly one error; a reader that is 4096 events behind gets engine.ErrOverflow.
func (f *Fake) Events(ctx context.Context, since time.Time) (<-chan engine.Event, <-chan error) {
	events, errs := make(chan engine.Event, backlog), make(chan error, 1)
	req := request{"Events", "", "read events"}
	s := &stream{wake: make(chan struct{}, 1)}
	go func() {
		defer close(events)
		defer close(errs)
		if err := f.enter(ctx, req); err != nil {
			errs <- err
			return
		}
		f.mu.Lock()
		for _, ev := range f.bus.past {
			if !since.IsZero() && !ev.Time.Before(since) {
				s.queue = append(s.queue, ev)
			}
		}
		f.bus.streams[s] = true
		f.mu.Unlock()
		errs <- f.deliver(ctx, req, s, events)
	}()
	return events, errs
}

// PastEvents is what the engine remembers of what has happened since its start.
func (f *Fake) PastEvents(ctx context.Context) (past []engine.Event, err error) {
	err = f.call(ctx, request{"PastEvents", "", "read past events"}, func() error {
		past = slices.Clone(f.bus.past)
		return nil
	})
	return past, err
}

func (f *Fake) deliver(ctx context.Context, req request, s *stream, events chan<- engine.Event) error {
	defer func() {
		f.mu.Lock()
		delete(f.bus.streams, s)
		f.mu.Unlock()
	}()
	for {
		f.mu.Lock()
		batch, ended := s.queue, s.ended
		if f.power.hung {
			batch = nil
		} else {
			s.queue = nil
		}
		f.mu.Unlock()
		for _, ev := range batch {
			select {
			case events <- ev:
			default:
				return &engine.Error{Op: req.op, Class: api.Transient, Reason: api.ReasonEngineFailed, Err: engine.ErrOverflow}
			}
		}
		if ended {
			return f.explain(req, refuse(engine.ErrUnreachable, "unexpected EOF"))
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return f.ended(ctx, req)
		}
	}
}

// emit records an event and hands it to the streams. f.mu is held.
func (f *Fake) emit(ev engine.Event) {
	if f.power.down {
		return
	}
	ev.Time = f.now()
	b := &f.bus
	b.past = append(b.past, ev)
	if len(b.past) > history {
		b.past = b.past[1:]
	}
	if b.keep != nil && !b.keep(ev) {
		return
	}
	switch {
	case b.drop > 0:
		b.drop--
	case b.shuffle > 0:
		b.shuffle--
		b.held = append(b.held, ev)
		if b.shuffle == 0 {
			f.flushHeld()
		}
	case b.twice > 0:
		b.twice--
		f.send(ev)
		f.send(ev)
	default:
		f.send(ev)
	}
}

func (f *Fake) send(ev engine.Event) {
	for s := range f.bus.streams {
		s.queue = append(s.queue, ev)
		s.ring()
	}
}

func (f *Fake) flushHeld() {
	held := f.bus.held
	f.bus.held, f.bus.shuffle = nil, 0
	f.rng.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
	for _, ev := range held {
		f.send(ev)
	}
}

func (f *Fake) endStreams() {
	for s := range f.bus.streams {
		s.ended = true
		s.ring()
	}
}

func (f *Fake) flushStreams() {
	for s := range f.bus.streams {
		s.ring()
	}
}

// DropEvents loses the next n events.
func (f *Fake) DropEvents(n int) { f.withBus(func(b *bus) { b.drop = n }) }

// RepeatEvents delivers the next n events twice.
func (f *Fake) RepeatEvents(n int) { f.withBus(func(b *bus) { b.twice = n }) }

// ShuffleEvents holds the next n events back and delivers them in random order.
func (f *Fake) ShuffleEvents(n int) { f.withBus(func(b *bus) { b.shuffle = n }) }

// FilterEvents loses the events for which keep is false; nil loses none. keep must not
// call the fake.
func (f *Fake) FilterEvents(keep func(engine.Event) bool) { f.withBus(func(b *bus) { b.keep = keep }) }

// HealEvents ends all faults of events and delivers what is held back.
func (f *Fake) HealEvents() {
	f.withBus(func(b *bus) { b.drop, b.twice, b.keep = 0, 0, nil })
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushHeld()
}

func (f *Fake) withBus(do func(*bus)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(&f.bus)
}
