package observe

import (
	"maps"
	"reflect"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

type pendingFacts struct {
	facts api.ContainerFacts
	// seq is the number of the last inspection or list that began before.
	seq uint64
}

type pull struct {
	at       time.Time
	revision string
}

// newFacts are the facts of a container that nothing is known about.
func newFacts() api.ContainerFacts { return api.ContainerFacts{WritableBytes: -1} }

// takePending returns the facts that were set before the container was seen. c.mu is held.
func (c *Cache) takePending(id string) api.ContainerFacts {
	if p, ok := c.pending[id]; ok {
		delete(c.pending, id)
		return p.facts
	}
	return newFacts()
}

// SetFacts lets fn change what the agent knows about a container, under the cache's
// lock: fn must be quick and call nothing of the cache. Facts stay with the id over
// inspections and restarts and end with the container. Those of a container that was not
// seen yet are kept until it is, or until a list shows that it does not exist.
func (c *Cache) SetFacts(id string, fn func(*api.ContainerFacts)) {
	c.change(func(next *api.Observed) (bool, []string) {
		old := next.Containers[id]
		if old == nil {
			p, ok := c.pending[id]
			if !ok {
				p.facts = newFacts()
			}
			fn(&p.facts)
			p.seq = c.seq
			c.pending[id] = p
			return false, nil
		}
		found := *old
		found.Facts.BindDigests = maps.Clone(found.Facts.BindDigests)
		fn(&found.Facts)
		if reflect.DeepEqual(old.Facts, found.Facts) {
			return false, nil
		}
		next.Containers = with(next.Containers, id, &found)
		return true, projectsOf(old)
	})
}

// SetImage tells what a reference resolves to; nil forgets it. When and for which
// revision the registry was asked is remembered beyond that: an image without PulledAt
// gets the last known one.
func (c *Cache) SetImage(ref string, img *api.Image) {
	c.change(func(next *api.Observed) (bool, []string) {
		if img != nil {
			known := *img
			if known.PulledAt.IsZero() {
				known.PulledAt, known.PulledFor = c.pulls[ref].at, c.pulls[ref].revision
			} else {
				c.pulls[ref] = pull{at: known.PulledAt, revision: known.PulledFor}
			}
			img = &known
		}
		if reflect.DeepEqual(next.Images[ref], img) {
			return false, nil
		}
		next.Images = with(next.Images, ref, img)
		return true, []string{anyProject}
	})
}

// SetPulled tells when the registry was asked for a reference by an earlier agent.
func (c *Cache) SetPulled(ref string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulls[ref] = pull{at: at}
}

// SetMount tells the state of a required mount. That it was checked again rings nobody.
func (c *Cache) SetMount(path string, state api.MountState) {
	c.change(func(next *api.Observed) (bool, []string) {
		old, known := next.Mounts[path]
		next.Mounts = maps.Clone(next.Mounts)
		next.Mounts[path] = state
		old.CheckedAt = state.CheckedAt
		if known && old == state {
			return true, nil
		}
		return true, []string{anyProject}
	})
}

// SetFailure remembers the failure of an operation by its key; nil forgets it.
func (c *Cache) SetFailure(key string, failure *api.Failure) {
	c.change(func(next *api.Observed) (bool, []string) {
		changed := set(&next.Failures, key, failure)
		return changed, everybody(changed)
	})
}

// SetJob remembers that a job (api.JobKey) ended well with the spec of that hash; an
// empty hash forgets it.
func (c *Cache) SetJob(key, hash string) {
	c.change(func(next *api.Observed) (bool, []string) {
		value := &hash
		if hash == "" {
			value = nil
		}
		if !set(&next.Jobs, key, value) {
			return false, nil
		}
		project, _, _ := strings.Cut(key, "/")
		return true, []string{project}
	})
}

// SetFolder tells what a secret folder holds (api.Observed.Folders); an empty digest says
// that it is gone.
func (c *Cache) SetFolder(folder, digest string) {
	c.change(func(next *api.Observed) (bool, []string) {
		value := &digest
		if digest == "" {
			value = nil
		}
		changed := set(&next.Folders, folder, value)
		return changed, everybody(changed)
	})
}

// SetDeliveryFault tells why secrets can't be delivered as files; empty when they can.
func (c *Cache) SetDeliveryFault(fault string) {
	c.change(func(next *api.Observed) (bool, []string) {
		changed := next.DeliveryFault != fault
		next.DeliveryFault = fault
		return changed, everybody(changed)
	})
}

// SetKept tells which value of a secret a container keeps (api.KeptKey).
func (c *Cache) SetKept(key string, kept api.Kept) {
	c.change(func(next *api.Observed) (bool, []string) {
		changed := set(&next.Kept, key, &kept)
		return changed, everybody(changed)
	})
}

// DropKept forgets the kept secrets whose key keep refuses.
func (c *Cache) DropKept(keep func(key string) bool) {
	c.change(func(next *api.Observed) (bool, []string) {
		changed := false
		for key := range next.Kept {
			if !keep(key) && set(&next.Kept, key, nil) {
				changed = true
			}
		}
		return changed, everybody(changed)
	})
}

// SetHold suspends changes to a stack; nil resumes it.
func (c *Cache) SetHold(stack string, hold *api.Hold) {
	c.change(func(next *api.Observed) (bool, []string) {
		changed := set(&next.Holds, stack, hold)
		return changed, everybody(changed)
	})
}

// SetRollout remembers where the rollouts of a stack stand; nil forgets it.
func (c *Cache) SetRollout(stack string, rollout *api.Rollout) {
	c.change(func(next *api.Observed) (bool, []string) {
		value := &rollout
		if rollout == nil {
			value = nil
		}
		changed := set(&next.Rollouts, stack, value)
		return changed, everybody(changed)
	})
}

// set replaces *m by a copy with value at key (nil removes it) and tells whether that
// changed anything.
func set[T comparable](m *map[string]T, key string, value *T) bool {
	old, known := (*m)[key]
	if value == nil && !known || value != nil && known && old == *value {
		return false
	}
	next := maps.Clone(*m)
	if value == nil {
		delete(next, key)
	} else {
		next[key] = *value
	}
	*m = next
	return true
}

//nolint:revive // the flag is the answer of set, not a mode
func everybody(changed bool) []string {
	if !changed {
		return nil
	}
	return []string{anyProject}
}
