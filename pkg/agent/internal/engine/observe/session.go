package observe

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// Back-off between attempts to connect.
const (
	minDelay = 10 * time.Millisecond
	maxDelay = 5 * time.Second
)

// connect keeps a session with the engine until ctx ends.
func (c *Cache) connect(ctx context.Context) error {
	delay := minDelay
	for {
		began := time.Now()
		err := c.session(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.disconnected(err)
		if time.Since(began) > maxDelay {
			delay = minDelay
		}
		c.log.Warn("engine connection lost", "err", err, "retry_in", delay)
		if !sleep(ctx, jitter(delay)) {
			return context.Cause(ctx)
		}
		delay = min(2*delay, maxDelay)
	}
}

// session lists everything, follows events and relists until one of them fails.
func (c *Cache) session(ctx context.Context) error {
	since, err := c.relist(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	events, errs := c.engine.Events(ctx, since)
	g.Go(func() error { return c.follow(events, errs) })
	g.Go(func() error {
		for c.awaitRelist(ctx) {
			if _, err := c.relist(ctx); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	c.connected()
	return g.Wait()
}

// awaitRelist waits for the time of the next list; false means that ctx ended. A list is
// due early when a container has stopped to answer: it may be the engine that has.
func (c *Cache) awaitRelist(ctx context.Context) bool {
	timer := time.NewTimer(c.cfg.Relist)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.suspect:
	case <-ctx.Done():
		return false
	}
	return true
}

// follow marks what events name, until the stream ends with its one error. It does not
// look at a context: the stream does, and its end is awaited so that nothing is left
// behind. Events that were not read by then are made up for by the next session's list.
func (c *Cache) follow(events <-chan engine.Event, errs <-chan error) error {
	for {
		select {
		case ev, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			c.handle(ev)
		case err := <-errs:
			return err
		}
	}
}

// relist reads everything and publishes the difference at once. It returns the time, by
// the engine's clock as far as that is known, from which on events are of interest.
func (c *Cache) relist(ctx context.Context) (since time.Time, err error) {
	seq := c.beginList()
	defer c.endList()
	began := time.Now()
	list, err := c.engine.List(ctx)
	if err != nil {
		return time.Time{}, err
	}
	// After the list, before it is judged: what it shows to have ended is in the history.
	if err := c.recall(ctx); err != nil {
		return time.Time{}, err
	}
	c.applyList(seq, list)
	return began.Add(-c.cfg.Skew), nil
}

func (c *Cache) connected() {
	c.retryFailures(time.Now())
	c.setConnection(&connection{up: true, since: time.Now()})
}

// retryPause is how long after its failure an operation is tried again at the earliest,
// should it be what brings the engine down.
const retryPause = 10 * time.Second

// retryFailures ends the back-off of what failed before the engine was connected: that the
// engine was away, or what the one before it said, is no reason to wait any longer.
func (c *Cache) retryFailures(now time.Time) {
	c.change(func(next *api.Observed) (bool, []string) {
		changed := false
		for key, f := range next.Failures {
			at := f.At.Add(retryPause)
			if at.Before(now) {
				at = now
			}
			if f.Class == api.Terminal || !f.RetryAt.After(at) {
				continue
			}
			f.RetryAt = at
			changed = set(&next.Failures, key, &f) || changed
		}
		return changed, everybody(changed)
	})
}

func (c *Cache) disconnected(err error) {
	c.mu.Lock()
	c.connections++
	c.mu.Unlock()
	since := time.Now()
	if old := c.connection.Load(); !old.up {
		since = old.since
	}
	c.setConnection(&connection{since: since, err: err})
}

func (c *Cache) setConnection(next *connection) {
	old := c.connection.Swap(next)
	if old.up != next.up {
		c.ring([]string{anyProject})
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// jitter spreads d over ±50 %, so that many agents of one engine don't come at once.
func jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(rand.Int64N(int64(d))) //nolint:gosec // no secret depends on it
}
