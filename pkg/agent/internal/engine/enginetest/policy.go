package enginetest

import "time"

// occasion is when a restart policy is asked.
type occasion int

const (
	afterExit occasion = iota
	atBoot
)

// Bounds of the engine's own back-off, and how long a process has to live to reset it.
const (
	firstRestart = 100 * time.Millisecond
	lastRestart  = time.Minute
	stableAfter  = 10 * time.Second
)

// wantsRestart is the engine's restart policy. `always` ignores at boot that somebody
// stopped the container; the others never do.
func (c *container) wantsRestart(when occasion) bool {
	policy := c.spec.Restart
	switch policy.Name {
	case "always":
		return !c.manual || when == atBoot
	case "unless-stopped":
		return !c.manual
	case "on-failure":
		return !c.manual && c.exitCode != 0 && (policy.MaxRetries == 0 || c.restarts < policy.MaxRetries)
	default:
		return false
	}
}

// planRestart puts a container that has just ended into the state restarting.
func (f *Fake) planRestart(c *container) {
	switch {
	case c.delay == 0 || f.now().Sub(c.started) >= stableAfter:
		c.delay = firstRestart
	default:
		c.delay = min(2*c.delay, lastRestart)
	}
	c.restarts++
	c.running, c.restarting = true, true
	gen, code := c.gen, c.exitCode
	f.after(c.delay, func() {
		if c.gen != gen || !c.restarting || f.power.down {
			return
		}
		if f.start(c) != nil {
			// Nobody tries again.
			f.setStopped(c, code)
		}
	})
}
