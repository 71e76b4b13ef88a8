package observe

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// begin numbers an inspection of k; end closes it.
func (c *Cache) begin(k key) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	c.record(k).inflight++
	return c.seq
}

func (c *Cache) end(k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.record(k)
	if r.inflight--; r.inflight == 0 {
		c.judgeLate(k, r)
	}
}

func (c *Cache) beginList() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	c.lists++
	return c.seq
}

func (c *Cache) endList() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists--
}

// advance claims k for the answer numbered seq; false means that a newer one was
// published. c.mu is held.
func (c *Cache) advance(k key, seq uint64) bool {
	r := c.record(k)
	if r.applied >= seq {
		return false
	}
	r.applied = seq
	return true
}

// putContainer publishes an inspected container; nil means that it is gone.
func (c *Cache) putContainer(id string, seq uint64, got *api.Container) {
	c.change(func(next *api.Observed) (bool, []string) {
		k := key{containerKind, id}
		if !c.advance(k, seq) {
			return false, nil
		}
		old := next.Containers[id]
		if got != nil {
			engine.ResolveNetworks(got, maps.Values(next.Networks))
		}
		merged := c.mergeContainer(id, old, got)
		if reflect.DeepEqual(old, merged) {
			return false, nil
		}
		next.Containers = with(next.Containers, id, merged)
		return true, projectsOf(old, merged)
	})
	c.watch(id)
}

// mergeContainer joins what the engine says with what the agent knows. c.mu is held.
func (c *Cache) mergeContainer(id string, old, got *api.Container) *api.Container {
	r := c.record(key{containerKind, id})
	if got == nil {
		delete(c.pending, id)
		r.deadSince = time.Time{}
		return nil
	}
	if got.Facts.Unresponsive && old != nil {
		merged := *old
		merged.Facts.Unresponsive = true
		return &merged
	}
	merged := *got
	switch {
	case old != nil:
		merged.Facts = old.Facts
	default:
		merged.Facts = c.takePending(id)
	}
	merged.Facts.Unresponsive = got.Facts.Unresponsive
	merged.Facts.Interrupted = c.interrupted(r, old, got)
	if old != nil && old.Health != api.HealthHealthy && got.Health == api.HealthHealthy && merged.Facts.HealthyAt.IsZero() {
		merged.Facts.HealthyAt = time.Now()
	}
	if old == nil || old.Pid != got.Pid || !old.StartedAt.Equal(got.StartedAt) {
		merged.Facts.Dead, merged.Facts.DeadSince = false, time.Time{}
		r.deadSince = time.Time{}
	}
	return &merged
}

func (c *Cache) putNetwork(id string, seq uint64, got *api.Network) {
	c.change(func(next *api.Observed) (bool, []string) {
		old := next.Networks[id]
		if !c.advance(key{networkKind, id}, seq) || reflect.DeepEqual(old, got) {
			return false, nil
		}
		next.Networks = with(next.Networks, id, got)
		if old == nil || got == nil {
			c.markMembers(next, cmp.Or(old, got))
		}
		return true, []string{anyProject}
	})
}

// markMembers asks for the containers that are not running and belong to a network that
// came or went: what they are attached to follows from it, without an event of theirs.
// c.mu is held.
func (c *Cache) markMembers(next *api.Observed, n *api.Network) {
	for _, found := range next.Containers {
		if found.State == api.StateRunning {
			continue
		}
		_, attached := found.Attached[n.ID]
		named := slices.ContainsFunc(found.Spec.Endpoints, func(e api.Endpoint) bool { return e.Network == n.Name })
		if attached || named {
			c.mark(key{containerKind, found.ID})
		}
	}
}

func (c *Cache) putVolume(name string, seq uint64, got *api.Volume) {
	c.change(func(next *api.Observed) (bool, []string) {
		if !c.advance(key{volumeKind, name}, seq) || reflect.DeepEqual(next.Volumes[name], got) {
			return false, nil
		}
		next.Volumes = with(next.Volumes, name, got)
		return true, []string{anyProject}
	})
}

// applyList publishes the difference to a list that began as number seq, at once.
func (c *Cache) applyList(seq uint64, list engine.List) {
	c.change(func(next *api.Observed) (bool, []string) {
		containers := byKey(list.Containers, func(o *api.Container) string { return o.ID })
		networks := byKey(list.Networks, func(o *api.Network) string { return o.ID })
		volumes := byKey(list.Volumes, func(o *api.Volume) string { return o.Name })
		var changed [3]bool
		next.Containers, changed[0] = merge(c, containerKind, seq, next.Containers, containers)
		next.Networks, changed[1] = merge(c, networkKind, seq, next.Networks, networks)
		next.Volumes, changed[2] = merge(c, volumeKind, seq, next.Volumes, volumes)
		if changed[1] {
			c.markResolved(seq, next)
		}
		first := !next.Complete
		next.Complete = true
		c.sweep(seq, next)
		if !first && !slices.Contains(changed[:], true) {
			return false, nil
		}
		return true, []string{anyProject}
	})
	for _, listed := range list.Containers {
		c.watch(listed.ID)
	}
}

// markResolved asks for the containers that were inspected during a list that brought other
// networks, and so were attached by name to what was known before. c.mu is held.
func (c *Cache) markResolved(seq uint64, next *api.Observed) {
	for id, found := range next.Containers {
		if k := (key{containerKind, id}); found.State != api.StateRunning && c.record(k).applied > seq {
			c.mark(k)
		}
	}
}

// merge returns current with the listed objects in it, unless something newer is known
// of them, and without those that are not listed. c.mu is held.
func merge[T any](c *Cache, k kind, seq uint64, current, listed map[string]*T) (next map[string]*T, changed bool) {
	next = maps.Clone(current)
	for id, got := range listed {
		if !c.advance(key{k, id}, seq) {
			continue
		}
		if container, ok := any(got).(*api.Container); ok {
			old, _ := any(current[id]).(*api.Container)
			got, _ = any(c.mergeContainer(id, old, container)).(*T)
		}
		if old := current[id]; old == nil || !reflect.DeepEqual(old, got) {
			next[id] = got
			changed = true
		}
	}
	for id := range current {
		if listed[id] == nil && c.advance(key{k, id}, seq) {
			delete(next, id)
			changed = true
		}
	}
	if !changed {
		return current, false
	}
	return next, true
}

// sweep forgets the bookkeeping of what is gone, plans another look at what did not
// answer, and drops retries that the list has made needless. c.mu is held.
func (c *Cache) sweep(seq uint64, next *api.Observed) {
	for k, r := range c.records {
		var exists bool
		switch k.kind {
		case containerKind:
			exists = next.Containers[k.id] != nil
		case networkKind:
			exists = next.Networks[k.id] != nil
		case volumeKind:
			exists = next.Volumes[k.id] != nil
		}
		if exists {
			continue
		}
		c.deaths.forget(k.id)
		if r.phase == idle && r.inflight == 0 {
			delete(c.records, k)
			delete(c.due, k)
		}
	}
	for id, found := range next.Containers {
		k := key{containerKind, id}
		_, planned := c.due[k]
		r := c.record(k)
		switch {
		case found.Facts.Unresponsive && !planned && r.phase == idle:
			r.failures = max(r.failures, 1)
			c.schedule(k, c.cfg.UnresponsiveRetry)
		case !found.Facts.Unresponsive && planned && r.deadSince.IsZero() && r.applied == seq:
			delete(c.due, k)
		}
	}
	for id, facts := range c.pending {
		if facts.seq < seq && next.Containers[id] == nil {
			delete(c.pending, id)
		}
	}
}

// with returns m with value at id; nil removes it. m itself is left alone.
func with[T any](m map[string]*T, id string, value *T) map[string]*T {
	next := maps.Clone(m)
	if value == nil {
		delete(next, id)
	} else {
		next[id] = value
	}
	return next
}

func byKey[T any](list []*T, name func(*T) string) map[string]*T {
	m := make(map[string]*T, len(list))
	for _, o := range list {
		m[name(o)] = o
	}
	return m
}

// projectsOf returns the Compose projects of the containers that are not nil.
func projectsOf(containers ...*api.Container) []string {
	var projects []string
	for _, c := range containers {
		if c == nil {
			continue
		}
		if p := c.Labels[api.LabelProject]; !slices.Contains(projects, p) {
			projects = append(projects, p)
		}
	}
	return projects
}
