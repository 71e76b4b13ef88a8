package observe

import (
	"context"
	"errors"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// Refresh inspects a container now and publishes the answer, so that a snapshot taken
// afterwards shows what the caller did before. A container that is gone is removed from
// the snapshot, which is no error.
func (c *Cache) Refresh(ctx context.Context, id string) error {
	return c.refresh(ctx, key{containerKind, id})
}

// RefreshNetwork is Refresh for a network, by id.
func (c *Cache) RefreshNetwork(ctx context.Context, id string) error {
	return c.refresh(ctx, key{networkKind, id})
}

// RefreshVolume is Refresh for a volume, by name.
func (c *Cache) RefreshVolume(ctx context.Context, name string) error {
	return c.refresh(ctx, key{volumeKind, name})
}

// refresh leaves a retry behind when it fails, because the caller may not come again.
func (c *Cache) refresh(ctx context.Context, k key) error {
	err := c.inspect(ctx, k)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r := c.record(k); {
	case err == nil:
		r.failures = 0
	case r.phase == idle:
		r.failures++
		c.schedule(k, c.retryDelay(r, err))
	}
	return err
}

// Forget removes a container from the snapshot without asking the engine, for a caller
// that has just removed it.
func (c *Cache) Forget(id string) {
	k := key{containerKind, id}
	seq := c.begin(k)
	c.putContainer(id, seq, nil)
	c.end(k)
}

// inspect asks the engine for k within the time limit of one inspection and publishes
// the answer. That the object is gone is an answer.
func (c *Cache) inspect(ctx context.Context, k key) error {
	limited, cancel := context.WithTimeout(ctx, c.cfg.InspectTimeout)
	defer cancel()
	seq := c.begin(k)
	defer c.end(k)
	var err error
	switch k.kind {
	case containerKind:
		var got *api.Container
		got, err = c.engine.InspectContainer(limited, k.id)
		switch {
		case err == nil:
			c.putContainer(k.id, seq, got)
		case errors.Is(err, engine.ErrNotFound):
			c.putContainer(k.id, seq, nil)
			return nil
		case timedOut(err) && ctx.Err() == nil:
			c.setUnresponsive(k.id, seq)
		}
	case networkKind:
		var got *api.Network
		got, err = c.engine.InspectNetwork(limited, k.id)
		switch {
		case err == nil:
			c.putNetwork(k.id, seq, got)
		case errors.Is(err, engine.ErrNotFound):
			c.putNetwork(k.id, seq, nil)
			return nil
		}
	case volumeKind:
		var got *api.Volume
		got, err = c.engine.InspectVolume(limited, k.id)
		switch {
		case err == nil:
			c.putVolume(k.id, seq, got)
		case errors.Is(err, engine.ErrNotFound):
			c.putVolume(k.id, seq, nil)
			return nil
		}
	}
	return err
}

// setUnresponsive says of a known container that the engine can't tell about it. It
// does not claim the sequence number: an answer that began earlier is still news.
func (c *Cache) setUnresponsive(id string, seq uint64) {
	c.change(func(next *api.Observed) (bool, []string) {
		old := next.Containers[id]
		if old == nil || old.Facts.Unresponsive || c.record(key{containerKind, id}).applied > seq {
			return false, nil
		}
		found := *old
		found.Facts.Unresponsive = true
		next.Containers = with(next.Containers, id, &found)
		ring(c.suspect)
		return true, projectsOf(old)
	})
}
