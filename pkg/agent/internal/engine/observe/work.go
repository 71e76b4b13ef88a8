package observe

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
)

type kind string

const (
	containerKind kind = "container"
	networkKind   kind = "network"
	volumeKind    kind = "volume"
)

// key names one object of the engine: containers and networks by id, volumes by name.
type key struct {
	kind kind
	id   string
}

type phase int

const (
	idle phase = iota
	queued
	inspecting
)

// record is the bookkeeping of one object. It outlives the object until the next list,
// so that a late answer does not bring it back.
type record struct {
	phase phase
	// again says that an event arrived while the worker's inspection was under way.
	again bool
	// applied is the sequence number of the inspection or list that was published last.
	// What began earlier is out of date.
	applied uint64
	// inflight counts inspections under way, those of Refresh included; late are the events
	// that came meanwhile.
	inflight int
	late     []engine.Event
	// changed is when the agent itself last changed it.
	changed  time.Time
	failures int
	// deadSince is when the process was seen to be gone, chases how often the engine was
	// asked since.
	deadSince time.Time
	chases    int

	interruption interruption
}

const (
	// slotHold is how long an inspection may keep others waiting.
	slotHold = 500 * time.Millisecond
	// retryMin and retryMax bound the wait after an inspection that failed.
	retryMin = 100 * time.Millisecond
	retryMax = 30 * time.Second
	// chaseMin and chaseMax bound the wait between two looks at a container whose process
	// is gone, chaseFor all of them together.
	chaseMin = 10 * time.Millisecond
	chaseMax = 250 * time.Millisecond
	chaseFor = 5 * time.Second
)

// record returns the bookkeeping of k. c.mu is held.
func (c *Cache) record(k key) *record {
	r := c.records[k]
	if r == nil {
		r = &record{}
		c.records[k] = r
	}
	return r
}

// mark asks for an inspection of k that begins after now. c.mu is held.
func (c *Cache) mark(k key) {
	r := c.record(k)
	delete(c.due, k)
	switch r.phase {
	case idle:
		r.phase = queued
		c.dirty = append(c.dirty, k)
		c.wakeUp()
	case queued:
	case inspecting:
		r.again = true
	}
}

func (c *Cache) wakeUp() { ring(c.wake) }

// ring puts a bell into a one-slot channel; one that rings already is enough.
func ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// dispatch starts a worker for each object that is dirty or due, until ctx ends.
func (c *Cache) dispatch(ctx context.Context) error {
	var workers errgroup.Group
	for {
		keys, next := c.takeDirty(time.Now())
		for _, k := range keys {
			workers.Go(func() error { c.work(ctx, k); return nil })
		}
		var timeout <-chan time.Time
		var timer *time.Timer
		if !next.IsZero() {
			timer = time.NewTimer(time.Until(next))
			timeout = timer.C
		}
		select {
		case <-ctx.Done():
		case <-c.wake:
		case <-timeout:
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), workers.Wait())
		}
	}
}

// takeDirty returns what to inspect now, and when the next retry is due (zero: never).
func (c *Cache) takeDirty(now time.Time) (keys []key, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, at := range c.due {
		if !at.After(now) {
			c.mark(k)
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	keys, c.dirty = c.dirty, nil
	return keys, next
}

// work inspects one object once. Objects that failed before queue in a lane of their
// own, and nobody holds a place for longer than slotHold: containers that hang in the
// engine don't delay the others.
func (c *Cache) work(ctx context.Context, k key) {
	lane := c.lane(k)
	select {
	case lane <- struct{}{}:
	case <-ctx.Done():
		return
	}
	release := sync.OnceFunc(func() { <-lane })
	defer release()
	if lane == c.slots {
		timer := time.AfterFunc(slotHold, release)
		defer timer.Stop()
	}
	c.setInspecting(k)
	c.finish(k, c.inspect(ctx, k))
}

func (c *Cache) lane(k key) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.record(k).failures > 0 {
		return c.slowSlots
	}
	return c.slots
}

func (c *Cache) setInspecting(k key) {
	c.mu.Lock()
	c.record(k).phase = inspecting
	c.mu.Unlock()
}

// finish decides when the object is looked at next: at once after an event that came
// meanwhile, later after a failure or while the engine has not noticed a death.
func (c *Cache) finish(k key, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.record(k)
	r.phase = idle
	again := r.again
	r.again = false
	if err == nil {
		r.failures = 0
	} else {
		r.failures++
		c.log.Debug("inspection is tried again", "kind", string(k.kind), "id", k.id, "err", err)
	}
	switch {
	case again:
		c.mark(k)
	case err != nil:
		c.schedule(k, c.retryDelay(r, err))
	case !r.deadSince.IsZero() && time.Since(r.deadSince) < chaseFor:
		c.schedule(k, min(chaseMin<<min(r.chases/2, 10), chaseMax))
		r.chases++
	}
}

// schedule asks for an inspection in d. c.mu is held.
func (c *Cache) schedule(k key, d time.Duration) {
	c.due[k] = time.Now().Add(d)
	c.wakeUp()
}

func (c *Cache) retryDelay(r *record, err error) time.Duration {
	first, last := retryMin, retryMax
	if timedOut(err) {
		first, last = c.cfg.UnresponsiveRetry, 8*c.cfg.UnresponsiveRetry
	}
	return jitter(min(first<<min(r.failures-1, 20), last))
}

func timedOut(err error) bool {
	return errors.Is(err, engine.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
}
