package plan

import (
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// settle is how long a container that crashed before has to run before it counts as
// converged, where no healthcheck tells.
const settle = 10 * time.Second

// stable is the run time after which earlier crashes are forgotten.
const stable = 10 * time.Minute

// isUp says that the container's process exists.
func isUp(c *api.Container) bool {
	return c.State == api.StateRunning || c.State == api.StatePaused || c.State == api.StateRestarting
}

// health is the truth about a running container: the stack's own probe, else Docker's
// healthcheck, which counts as passed once the agent ran it successfully itself.
func health(svc *api.Service, c *api.Container) api.Health {
	probed := !c.Facts.ProbedHealthy.IsZero() && c.Facts.ProbedHealthy.Equal(c.StartedAt)
	if svc.Probe != nil {
		switch {
		case !probed: // what was said of an earlier run says nothing about this one
			return api.HealthStarting
		case c.Facts.ProbedUnhealthy:
			return api.HealthUnhealthy
		}
		return api.HealthHealthy
	}
	if c.Health == api.HealthStarting && probed {
		return api.HealthHealthy
	}
	return c.Health
}

// healthy says that a container counts as healthy for its dependents.
func healthy(svc *api.Service, c *api.Container) bool {
	if c.State != api.StateRunning || c.Facts.Dead {
		return false
	}
	h := health(svc, c)
	return h == api.HealthNone || h == api.HealthHealthy
}

// backoff is base doubled n times, up to limit.
func backoff(n int, base, limit time.Duration) time.Duration {
	d := base
	for ; n > 0 && d < limit; n-- {
		d *= 2
	}
	return min(d, limit)
}

// startNotBefore delays the start of a container that crashed again and again. The first
// repair is immediate; a run of ten minutes forgets what was before.
func startNotBefore(c *api.Container) time.Time {
	if c.Facts.Starts == 0 || c.FinishedAt.Sub(c.StartedAt) >= stable {
		return time.Time{}
	}
	return c.FinishedAt.Add(backoff(c.Facts.Starts-1, time.Second, 5*time.Minute))
}

// restartNotBefore spaces restarts of an unhealthy container: 30 s, 1 min, … 10 min.
func restartNotBefore(c *api.Container) time.Time {
	n := c.Facts.UnhealthyRestarts
	if n == 0 {
		return time.Time{}
	}
	return c.Facts.LastUnhealthyRestart.Add(backoff(n-1, 30*time.Second, 10*time.Minute))
}
