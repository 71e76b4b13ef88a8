package hub

import (
	"google.golang.org/protobuf/proto"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// call is a command that the agent works on. The session's lock guards outputs, size and dropped.
type call struct {
	outputs []*ktrdrv1.CommandOutput
	size    int // of outputs, in bytes
	dropped uint64
	// filled has something when outputs came.
	filled chan struct{}
	result chan *ktrdrv1.CommandResult
}

// output keeps a part of an answer for the caller; the stream waits for no caller.
func (s *session) output(out *ktrdrv1.CommandOutput) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.calls[out.GetId()]
	if !ok {
		return // cancelled
	}
	logs := out.GetLogs()
	if logs != nil {
		logs.Dropped += c.dropped
		for _, line := range logs.GetLines() {
			line.Node = s.node // whatever the agent says
		}
	}
	size := proto.Size(out)
	if len(c.outputs) > 0 && c.size+size > callBuffer {
		if logs != nil {
			c.dropped = logs.GetDropped() + uint64(len(logs.GetLines()))
		}
		return
	}
	c.outputs, c.size, c.dropped = append(c.outputs, out), c.size+size, 0
	select {
	case c.filled <- struct{}{}:
	default:
	}
}

// hand gives the caller what has come, and how many lines after it were left out.
func (s *session) hand(c *call, output func(*ktrdrv1.CommandOutput) error) error {
	s.mu.Lock()
	outputs := c.outputs
	if c.dropped > 0 {
		outputs = append(outputs, &ktrdrv1.CommandOutput{Kind: &ktrdrv1.CommandOutput_Logs{Logs: &ktrdrv1.LogBatch{Dropped: c.dropped}}})
	}
	c.outputs, c.size, c.dropped = nil, 0, 0
	s.mu.Unlock()
	for _, out := range outputs {
		if err := output(out); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) result(r *ktrdrv1.CommandResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.calls[r.GetId()]; ok {
		select {
		case c.result <- r:
		default:
		}
	}
}
