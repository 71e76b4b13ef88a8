package agenttest

import (
	"context"
	"fmt"
	"strings"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// begin works on a command beside what comes next.
func (l *link) begin(ctx context.Context, c *ktrdrv1.Command) {
	ctx, cancel := context.WithCancel(ctx)
	if l.commands == nil {
		l.commands = map[string]context.CancelFunc{}
	}
	l.commands[c.GetId()] = cancel
	l.work.Go(func() { defer cancel(); l.command(ctx, c) })
}

func (l *link) command(ctx context.Context, c *ktrdrv1.Command) {
	send := func(out *ktrdrv1.CommandOutput) {
		out.Id = c.GetId()
		l.send(ctx, &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Output{Output: out}})
	}
	if logs := c.GetLogs(); logs != nil && l.agent.Logs != nil {
		l.agent.Logs(ctx, logs, send)
		l.send(ctx, &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Result{Result: &ktrdrv1.CommandResult{Id: c.GetId()}}})
		return
	}
	for name, answer := range l.agent.Commands {
		if !strings.Contains(fmt.Sprintf("%T", c.GetKind()), "_"+strings.ToUpper(name[:1])+name[1:]) {
			continue
		}
		result := answer(c, send)
		result.Id = c.GetId()
		l.send(ctx, &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Result{Result: result}})
	}
}
