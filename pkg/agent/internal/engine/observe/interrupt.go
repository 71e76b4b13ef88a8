package observe

import (
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
	// endedAt is when somebody last stopped or killed it, by the engine's clock.
	endedAt time.Time
	// upSince is the number of the connection on which it was last seen to run.
	upSince uint64
}

// noteEnd remembers that an event tells of somebody ending a container. The engine tells
// of a kill when it has sent the signal, long before it has noticed the end.
func (c *Cache) noteEnd(ev engine.Event) {
	if ev.Action != "stop" && (ev.Action != "kill" || !ending(ev.Attributes["signal"])) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.record(key{containerKind, ev.ID})
	if r.interruption.endedAt.Before(ev.Time) {
		r.interruption.endedAt = ev.Time
	}
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
// during its present run, the engine was away while it ended, or the machine restarted
// meanwhile. c.mu is held.
func (c *Cache) interrupted(r *record, old, got *api.Container) bool {
	up := got.State == api.StateRunning || got.State == api.StatePaused || got.State == api.StateRestarting
	if up {
		r.interruption.upSince = c.connections
		return false
	}
	if got.StartedAt.IsZero() || got.State == api.StateCreated {
		return false
	}
	if r.interruption.endedAt.After(got.StartedAt) {
		return true
	}
	if old == nil {
		return got.StartedAt.Before(c.boot) && !got.FinishedAt.Before(c.boot)
	}
	if !old.StartedAt.Equal(got.StartedAt) {
		return false
	}
	seenUp := old.State == api.StateRunning || old.State == api.StatePaused
	return old.Facts.Interrupted || seenUp && r.interruption.upSince != c.connections
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
