package logs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Target is a container whose log is read.
type Target struct {
	ID, Stack, Service, Name string
	// Running tells whether there is more to come.
	Running bool
}

// Query says what is read.
type Query struct {
	Tail   int
	Since  time.Time
	Follow bool
}

// Config says where logs come from.
type Config struct {
	Engine Engine
	Redact func(string) string
	// Targets are the containers of now.
	Targets func() []Target
	// Poll is how often Targets is asked while logs are followed. Default 500 ms.
	Poll time.Duration
	// Retry is the pause before a log is read on after the engine went away. Default 1 s.
	Retry time.Duration
}

const (
	standardPoll  = 500 * time.Millisecond
	standardRetry = time.Second
	// maxFollowed bounds the containers that are followed by one query.
	maxFollowed = 200
)

// Stream calls emit for each line, for several containers at the same time when it
// follows. It returns when all is told, or ctx ends, which is no error.
func Stream(ctx context.Context, cfg Config, q Query, emit func(Target, Line)) error {
	cfg.Poll, cfg.Retry = cmp.Or(cfg.Poll, standardPoll), cmp.Or(cfg.Retry, standardRetry)
	if q.Follow {
		return follow(ctx, cfg, q, emit)
	}
	targets := sorted(cfg.Targets())
	var errs []error
	for _, t := range targets {
		err := Read(ctx, cfg.Engine, Request{ID: t.ID, Tail: q.Tail, Since: q.Since}, cfg.Redact, func(l Line) { emit(t, l) })
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the caller ended it
		}
		if err != nil && !gone(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func sorted(targets []Target) []Target {
	return slices.SortedFunc(slices.Values(targets), func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Stack, b.Stack), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
}

// follow reads the log of each container until it is gone. Those that come later are read
// from their beginning.
func follow(ctx context.Context, cfg Config, q Query, emit func(Target, Line)) error {
	var all sync.WaitGroup
	defer all.Wait()
	known := map[string]bool{}
	places := make(chan struct{}, maxFollowed)
	ticker := time.NewTicker(cfg.Poll)
	defer ticker.Stop()
	for first := true; ; first = false {
		for _, t := range sorted(cfg.Targets()) {
			if known[t.ID] {
				continue
			}
			select {
			case places <- struct{}{}:
			default:
				continue // until another one is gone
			}
			known[t.ID] = true
			one := followed{cfg: cfg, target: t, query: q}
			if !first {
				one.query.Tail, one.query.Since = -1, time.Time{}
			}
			all.Go(func() {
				one.run(ctx, emit)
				<-places
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// followed is one container that is followed.
type followed struct {
	cfg    Config
	target Target
	query  Query
}

// run reads on after each start of the container and of the engine, until the container
// is gone for good.
func (f *followed) run(ctx context.Context, emit func(Target, Line)) {
	r := newReader(f.cfg.Engine, f.cfg.Redact, func(l Line) { emit(f.target, l) })
	since := f.query.Since
	if f.query.Tail == 0 {
		since = time.Now()
	}
	for f.begin(ctx, r) { // nothing could be read yet
		f.pause(ctx)
	}
	for ctx.Err() == nil {
		err := r.on(ctx, f.target.ID, since)
		if err == nil && !f.running() {
			r.lines.finish()
			for ctx.Err() == nil && f.present() && !f.running() {
				f.pause(ctx)
			}
			if !f.present() {
				return
			}
			continue
		}
		// An engine that has just started does not know its containers for a moment, but
		// what was seen of it before is remembered.
		if gone(err) && !f.present() {
			return
		}
		f.pause(ctx)
	}
}

// begin reads the history. True means that it has to be tried again.
func (f *followed) begin(ctx context.Context, r *reader) bool {
	err := r.history(ctx, Request{ID: f.target.ID, Tail: f.query.Tail, Since: f.query.Since})
	return ctx.Err() == nil && err != nil && r.lines.last.IsZero() && f.present()
}

func (f *followed) pause(ctx context.Context) {
	timer := time.NewTimer(f.cfg.Retry)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (f *followed) find() (Target, bool) {
	targets := f.cfg.Targets()
	i := slices.IndexFunc(targets, func(t Target) bool { return t.ID == f.target.ID })
	if i < 0 {
		return Target{}, false
	}
	return targets[i], true
}

func (f *followed) present() bool {
	_, ok := f.find()
	return ok
}

func (f *followed) running() bool {
	t, ok := f.find()
	return ok && t.Running
}
