package observe

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// interruption is what is known of a container's present run that tells whether its end
// comes from outside. It is part of the container's record.
type interruption struct {
	// endedAt is when somebody last stopped or killed it, diedAt when its process last
	// ended, by the engine's clock.
	endedAt, diedAt time.Time
	// upSince is the number of the connection on which it was last seen to run.
	upSince uint64
	// remembered is the start of the run that an earlier process of the agent has seen.
	remembered time.Time
}

// RememberRun tells that an earlier process of the agent has seen a container run, by the
// start of that run. To be called before Run.
func (c *Cache) RememberRun(id string, started time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record(key{containerKind, id}).interruption.remembered = started
}

// engineMemory is how many past events an engine keeps. Source: eventsLimit of
// daemon/events in moby, 20.10 to 29.
const engineMemory = 256

// recall takes over what the engine remembers of ends that nobody has listened to.
func (c *Cache) recall(ctx context.Context) error {
	past, err := c.engine.PastEvents(ctx)
	if err != nil {
		return err
	}
	for _, ev := range past {
		c.noteEnd(ev)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reach = time.Time{}
	if len(past) >= engineMemory {
		c.reach = past[0].Time
	}
	return nil
}

// noteEnd remembers that an event tells of the end of a container, and of somebody ending
// it. The engine tells of a kill when it has sent the signal, long before it has noticed
// the end.
func (c *Cache) noteEnd(ev engine.Event) {
	outside := ev.Action == "stop" || ev.Action == "kill" && ending(ev.Attributes["signal"])
	if ev.Type != "container" || !outside && ev.Action != "die" {
		return
	}
	c.change(func(next *api.Observed) (bool, []string) {
		known := &c.record(key{containerKind, ev.ID}).interruption
		at := &known.diedAt
		if outside {
			at = &known.endedAt
		}
		if at.Before(ev.Time) {
			*at = ev.Time
		}
		// The end may have been seen before word of who did it.
		old := next.Containers[ev.ID]
		if old == nil || old.State != api.StateExited || old.Facts.Interrupted || !known.endedAt.After(old.StartedAt) {
			return false, nil
		}
		found := *old
		found.Facts.Interrupted = true
		next.Containers = with(next.Containers, ev.ID, &found)
		return true, projectsOf(old)
	})
}

// ending says that a signal is meant to end a process. Others ask it to read its
// configuration again or to write a report. An unknown spelling counts as meant to.
func ending(signal string) bool {
	switch signal {
	case "1", "10", "12", "17", "18", "23", "28": // HUP, USR1, USR2, CHLD, CONT, URG, WINCH
		return false
	}
	return true
}

// interrupted tells whether the end of a container came from outside: somebody ended it
// during its present run, or the engine or the machine went away under it. What nobody
// knows is decided by who saw it run: a run that was seen and of whose end the engine
// knows nothing ended with the engine; of one that was never seen the exit code tells.
// c.mu is held.
func (c *Cache) interrupted(r *record, old, got *api.Container) bool {
	up := got.State == api.StateRunning || got.State == api.StatePaused || got.State == api.StateRestarting
	if up {
		r.interruption.upSince = c.connections
		return false
	}
	if got.StartedAt.IsZero() || got.State == api.StateCreated {
		return false
	}
	known := r.interruption
	switch {
	case known.endedAt.After(got.StartedAt):
		return true
	case known.diedAt.After(got.StartedAt):
		return false
	case old == nil && known.remembered.Equal(got.StartedAt):
		return c.endForgotten(got)
	case old == nil:
		return got.StartedAt.Before(c.boot) && !got.FinishedAt.Before(c.boot)
	case !old.StartedAt.Equal(got.StartedAt):
		return false
	}
	seenUp := old.State == api.StateRunning || old.State == api.StatePaused
	return old.Facts.Interrupted || seenUp && known.upSince != c.connections && c.endForgotten(got)
}

// endForgotten tells whether the engine has restarted since a container ended: it then
// remembers all that came after, and not that end. c.mu is held.
func (c *Cache) endForgotten(got *api.Container) bool {
	return c.reach.IsZero() || got.FinishedAt.Before(c.boot)
}

// bootTime is when process 1 started: the boot of the machine, or of the LXC container
// that the agent is in. Zero when it can't be read. Source: proc(5), btime of /proc/stat
// and field 22 of /proc/1/stat, in ticks of a hundredth of a second (USER_HZ).
func bootTime(procRoot string) time.Time {
	stat, err := os.ReadFile(filepath.Join(procRoot, "stat")) //nolint:gosec // configured
	if err != nil {
		return time.Time{}
	}
	init, err := os.ReadFile(filepath.Join(procRoot, "1", "stat")) //nolint:gosec // configured
	if err != nil {
		return time.Time{}
	}
	_, after, _ := strings.Cut(string(stat), "\nbtime ")
	seconds, _, _ := strings.Cut(after, "\n")
	kernel, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}
	}
	fields := strings.Fields(string(init)[strings.LastIndexByte(string(init), ')')+1:])
	if len(fields) < 20 {
		return time.Time{}
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(kernel, 0).Add(time.Duration(ticks) * 10 * time.Millisecond)
}
