package agent

import (
	"context"
	"maps"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// rememberRuns keeps on disk which containers were last seen to run, or to be ended from
// outside, of those that the engine does not start again by itself. When one of them is
// found ended after a restart of agent and engine, as a reboot is, it did not end by itself.
func (a *Agent) rememberRuns(ctx context.Context) error {
	bell := make(chan struct{}, 1)
	a.cache.Subscribe(func(string) { ring(bell) })
	written := a.store.Runs()
	for {
		if obs := a.cache.Snapshot(); obs.Complete {
			runs := runningOnce(obs)
			if !maps.EqualFunc(runs, written, time.Time.Equal) {
				if err := a.store.SetRuns(runs); err != nil {
					a.log.WarnContext(ctx, "what runs is not on disk", "err", err)
				}
				written = runs
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-bell:
		}
	}
}

// runningOnce are the starts of the runs that are to end by themselves and have not, by
// container id.
func runningOnce(obs *api.Observed) map[string]time.Time {
	runs := map[string]time.Time{}
	for id, c := range obs.Containers {
		switch c.Spec.Restart.Name {
		case "", "no", "on-failure":
		default:
			continue
		}
		up := c.State == api.StateRunning || c.State == api.StatePaused || c.State == api.StateRestarting
		if (up || c.Facts.Interrupted) && c.Labels[api.LabelProject] != "" {
			runs[id] = c.StartedAt
		}
	}
	return runs
}
