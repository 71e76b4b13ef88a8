package agent

import (
	"context"
	"slices"

	"ktrdr.io/fleet/pkg/agent/internal/logs"
	"ktrdr.io/fleet/pkg/agent/uplink"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// containerLogs reads the logs of the containers of the desired state in force.
func (a *Agent) containerLogs() uplink.Logs { return containerLogs{a} }

type containerLogs struct{ a *Agent }

// Stream implements uplink.Logs.
func (l containerLogs) Stream(ctx context.Context, q uplink.LogQuery, emit func(uplink.LogLine)) error {
	cfg := logs.Config{
		Engine: l.a.engine, Redact: l.a.secrets.Redact,
		Targets: func() []logs.Target { return logTargets(l.a.desired.Load(), l.a.cache.Snapshot(), q) },
	}
	return logs.Stream(ctx, cfg, logs.Query{Tail: q.Tail, Since: q.Since, Follow: q.Follow}, func(t logs.Target, line logs.Line) {
		emit(uplink.LogLine{
			Stack: t.Stack, Service: t.Service, Container: t.Name, Time: line.Time, Stderr: line.Stderr, Text: line.Text,
		})
	})
}

// logTargets are the containers that belong to the stacks and services of a query. What
// is foreign is not shown to a controller.
func logTargets(d *api.Desired, obs *api.Observed, q uplink.LogQuery) []logs.Target {
	if d == nil || obs == nil {
		return nil
	}
	var list []logs.Target
	for _, c := range obs.Containers {
		i := slices.IndexFunc(d.Stacks, func(s api.Stack) bool { return plan.Owns(&s, c) })
		if i < 0 || q.Stack != "" && d.Stacks[i].Name != q.Stack {
			continue
		}
		service := c.Labels[api.LabelService]
		if len(q.Services) > 0 && !slices.Contains(q.Services, service) {
			continue
		}
		list = append(list, logs.Target{
			ID: c.ID, Stack: d.Stacks[i].Name, Service: service, Name: c.Name, Running: c.State == api.StateRunning,
		})
	}
	return list
}
