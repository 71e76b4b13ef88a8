package observe

import (
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// watch follows the process of a container as the newest snapshot has it.
func (c *Cache) watch(id string) {
	found := c.Snapshot().Containers[id]
	switch {
	case found == nil || found.Pid == 0 || found.Facts.Dead:
		c.deaths.forget(id)
	case found.State == api.StateRunning || found.State == api.StatePaused:
		c.deaths.watch(id, found.Pid)
	}
}

// died is told by the death watch that a process is gone. The engine learns of it later
// and is asked until it has.
func (c *Cache) died(id string, pid int) {
	c.change(func(next *api.Observed) (bool, []string) {
		old := next.Containers[id]
		if old == nil || old.Pid != pid || old.Facts.Dead {
			return false, nil
		}
		found := *old
		found.Facts.Dead, found.Facts.DeadSince = true, time.Now()
		next.Containers = with(next.Containers, id, &found)
		k := key{containerKind, id}
		r := c.record(k)
		r.deadSince, r.chases = found.Facts.DeadSince, 0
		switch own := c.own[id]; {
		case own != nil:
			own.seen[k] = true
		case r.phase == idle:
			c.schedule(k, chaseMin)
		}
		return true, projectsOf(old)
	})
}
