package observe

import (
	"context"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// ownChange is a change that the agent makes itself. Its events tell only of that change, whose
// result Change reads when it is done: they are collected, not followed.
type ownChange struct {
	users int
	// seen are the objects that events told of.
	seen map[key]bool
}

// Change runs a call that changes or makes a container, and publishes what became of it,
// also after a failure: the truth may have changed all the same. object is the container's
// id, or the name of one that is yet to be made; call returns the id, empty when there is
// none. Only the call's own error is returned, unless it worked.
//
// One inspection does for the call and for all events of it, which matters: an engine that
// starts many containers is short of CPU.
func (c *Cache) Change(ctx context.Context, object string, call func() (id string, err error)) error {
	c.beginOwn(object)
	id, err := call()
	c.endOwn(object, id)
	if id == "" {
		return err
	}
	defer c.end(key{containerKind, id})
	refreshErr := c.Refresh(ctx, id)
	if err != nil {
		return err
	}
	return refreshErr
}

func (c *Cache) beginOwn(object string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.own[object]
	if own == nil {
		own = &ownChange{seen: map[key]bool{}}
		c.own[object] = own
	}
	own.users++
}

// endOwn asks for an inspection of what events told of meanwhile, except of the container
// that the caller inspects next: that inspection counts as begun, and the caller ends it.
func (c *Cache) endOwn(object, inspected string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.own[object]
	if inspected != "" {
		k := key{containerKind, inspected}
		delete(own.seen, k)
		r := c.record(k)
		r.inflight++
		r.changed = time.Now()
	}
	if own.users--; own.users > 0 {
		return
	}
	delete(c.own, object)
	for k := range own.seen {
		c.mark(k)
	}
}

// maxLate bounds the events that are kept for the end of an inspection.
const maxLate = 32

// note asks for an inspection of what an event is about, unless the agent's own operation
// does that when it is done, one is yet to begin, or what the event tells is known.
func (c *Cache) note(k key, ev engine.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if own := c.ownOf(k, ev); own != nil {
		own.seen[k] = true
		return
	}
	r := c.record(k)
	_, due := c.due[k]
	switch {
	case r.inflight > 0 && len(r.late) < maxLate:
		r.late = append(r.late, ev)
	case r.inflight == 0 && r.phase == idle && !due && c.knows(k, r, ev):
	default:
		c.mark(k)
	}
}

// ownOf finds the operation that an event may be of. Only a container that is new goes by
// its name.
func (c *Cache) ownOf(k key, ev engine.Event) *ownChange {
	if k.kind != containerKind {
		return nil
	}
	if own := c.own[k.id]; own != nil {
		return own
	}
	if ev.Type == "container" && ev.Action == "create" {
		return c.own[ev.Attributes["name"]]
	}
	return nil
}

// judgeLate looks at the events that came during an inspection which has ended. c.mu is held.
func (c *Cache) judgeLate(k key, r *record) {
	late := r.late
	r.late = nil
	for _, ev := range late {
		if !c.knows(k, r, ev) {
			c.mark(k)
			return
		}
	}
}

// eventSlack bounds the time between a start or an end that a container tells and the
// events of it, all by the engine's clock.
const eventSlack = time.Second

// knows tells whether what was last inspected shows what an event tells. It may be asked
// only while no inspection is under way or wanted: then every earlier event is accounted
// for, so that what shows the state after this event was read after it, or nothing else
// happened in between. c.mu is held.
func (c *Cache) knows(k key, r *record, ev engine.Event) bool {
	if c.lists > 0 {
		return false // it brings what was true at some time since its beginning
	}
	now := c.Snapshot()
	switch k.kind {
	case networkKind:
		return shows(now.Networks[k.id] != nil, ev.Action)
	case volumeKind:
		return shows(now.Volumes[k.id] != nil, ev.Action)
	case containerKind:
	}
	found := now.Containers[k.id]
	if found == nil {
		return r.applied > 0 // it was seen to be gone, and never comes back
	}
	switch ev.Action {
	case "create":
		return true
	case "rename":
		return found.Name == ev.Attributes["name"]
	case "start", "restart":
		return startedBy(found, ev)
	case "connect":
		_, attached := found.Attached[ev.ID]
		return attached && startedBy(found, ev)
	case "kill", "die", "stop":
		// That somebody ended it is known as soon as the event tells.
		return found.Facts.Interrupted && endedBy(found, ev)
	case "disconnect":
		// A container that ends loses its connections and keeps their configuration.
		return endedBy(found, ev) && time.Since(r.changed) < eventSlack
	}
	return false
}

// shows tells whether an object that exists, or does not, is the result of an action.
func shows(exists bool, action string) bool { //nolint:revive // the flag is what was observed, not a mode
	return exists && action == "create" || !exists && action == "destroy"
}

// startedBy tells whether an event belongs to the start of the run that a container is in.
func startedBy(found *api.Container, ev engine.Event) bool {
	return found.State == api.StateRunning && ev.Time.Sub(found.StartedAt).Abs() < eventSlack
}

// endedBy tells whether an event belongs to the end of the run that a container was in last.
func endedBy(found *api.Container, ev engine.Event) bool {
	return found.State == api.StateExited && ev.Time.Sub(found.FinishedAt).Abs() < eventSlack
}
