package enginetest

import (
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// SetHealth gives the coming probes of a container, by its name, their results, one
// after the other; the last one stays. Without, the healthcheck's command decides.
func (f *Fake) SetHealth(name string, results ...bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.health[name] = results
}

// monitorHealth plans the first probe one interval from now, as Docker does.
func (f *Fake) monitorHealth(c *container) {
	check := c.spec.Healthcheck
	if check == nil || len(check.Test) == 0 || check.Test[0] == "NONE" {
		return
	}
	if c.health == api.HealthNone {
		c.health, c.failing, c.healthLog = api.HealthStarting, 0, ""
	}
	f.planProbe(c, c.gen)
}

func (f *Fake) planProbe(c *container, gen int) {
	interval := c.spec.Healthcheck.Interval
	if interval == 0 {
		interval = 30 * time.Second
	}
	f.after(interval, func() {
		if c.gen != gen || c.paused || f.power.down {
			return
		}
		f.probe(c)
		f.planProbe(c, gen)
	})
}

func (f *Fake) probe(c *container) {
	check := c.spec.Healthcheck
	f.emitContainer(c, "exec_create")
	f.emitContainer(c, "exec_start")
	ok := f.nextHealth(c, check.Test[1:])
	f.emitContainer(c, "exec_die")
	retries := check.Retries
	if retries == 0 {
		retries = 3
	}
	before := c.health
	switch {
	case ok:
		c.health, c.failing = api.HealthHealthy, 0
	case c.health == api.HealthStarting && f.now().Sub(c.started) < check.StartPeriod:
	default:
		c.failing++
		if c.failing >= retries {
			c.health = api.HealthUnhealthy
		}
	}
	if c.health != before {
		f.emitContainer(c, "health_status")
	}
}

func (f *Fake) nextHealth(c *container, command []string) bool {
	results, programmed := f.health[c.name]
	if !programmed || len(results) == 0 {
		result := f.runCommand(c, engine.ExecRequest{Command: command})
		c.healthLog = result.Output
		return result.ExitCode == 0
	}
	if len(results) > 1 {
		f.health[c.name] = results[1:]
	}
	c.healthLog = ""
	return results[0]
}
