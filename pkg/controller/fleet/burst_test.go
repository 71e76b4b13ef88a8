package fleet_test

import (
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/controller/hub"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestPartsOfAnAnswer: a caller that does not read for a while misses none of many small parts; of
// more than is kept for it, what is left out is counted.
func TestPartsOfAnAnswer(t *testing.T) {
	l := newLab(t)
	stream := l.connect(t.Context(), "a", &ktrdrv1.Hello{RunId: "r", Commands: []string{"logs"}})
	l.await("it is connected", func() bool { n, _ := l.hub.Node("a"); return n.Connected })
	for i, test := range []struct {
		parts, size int
		whole       bool
	}{{1000, 10, true}, {100, 60 << 10, false}} {
		reads, ended := make(chan struct{}), make(chan error, 1)
		var lines, dropped int
		go func() {
			_, err := l.hub.Run(t.Context(), hub.Request{
				Node: "a", Name: "logs", Command: &ktrdrv1.Command{By: "karl", Kind: &ktrdrv1.Command_Logs{Logs: &ktrdrv1.LogsCommand{}}},
				Output: func(o *ktrdrv1.CommandOutput) error {
					<-reads
					lines += len(o.GetLogs().GetLines())
					dropped += int(o.GetLogs().GetDropped()) //nolint:gosec // small
					return nil
				},
			})
			ended <- err
		}()
		command := receive(t, stream, (*ktrdrv1.ControllerMessage).GetCommand, func(c *ktrdrv1.Command) bool { return c != nil })
		for range test.parts {
			must(t, stream.Send(&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Output{Output: &ktrdrv1.CommandOutput{
				Id: command.GetId(), Kind: &ktrdrv1.CommandOutput_Logs{Logs: &ktrdrv1.LogBatch{Lines: []*ktrdrv1.LogLine{{Text: strings.Repeat("x", test.size)}}}},
			}}}))
		}
		// What is acknowledged came after all of it.
		seq := uint64(i + 1) //nolint:gosec // small
		must(t, stream.Send(&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Events{Events: &ktrdrv1.EventBatch{Events: []*ktrdrv1.Event{{Seq: seq}}}}}))
		receive(t, stream, (*ktrdrv1.ControllerMessage).GetEventAck, func(a *ktrdrv1.EventAck) bool { return a.GetSeq() == seq })
		close(reads)
		must(t, stream.Send(&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Result{Result: &ktrdrv1.CommandResult{Id: command.GetId()}}}))
		must(t, <-ended)
		if lines+dropped != test.parts || test.whole != (dropped == 0) {
			t.Errorf("of %d parts of %d bytes %d lines came, and %d are said to be left out", test.parts, test.size, lines, dropped)
		}
	}
}
