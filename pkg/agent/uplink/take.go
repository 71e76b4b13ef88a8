package uplink

import (
	"context"

	"ktrdr.io/fleet/pkg/source"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// take hands one message on. It waits for nothing but the queue of urgent messages, whose
// reader gives up a stream on which nothing moves. Kinds that this version does not know
// are ignored.
func (s *session) take(ctx context.Context, m *ktrdrv1.ControllerMessage) error {
	switch kind := m.GetKind().(type) {
	case *ktrdrv1.ControllerMessage_Welcome:
		s.link.learn(kind.Welcome.GetEndpoints())
	case *ktrdrv1.ControllerMessage_Slice:
		return s.slice(ctx, kind.Slice)
	case *ktrdrv1.ControllerMessage_Files:
		s.files(ctx, kind.Files)
	case *ktrdrv1.ControllerMessage_StatusAck:
		acknowledge(s.statusAcks, kind.StatusAck.GetSeq())
	case *ktrdrv1.ControllerMessage_EventAck:
		acknowledge(s.eventAcks, kind.EventAck.GetSeq())
	case *ktrdrv1.ControllerMessage_Command:
		s.commands.start(ctx, kind.Command)
	case *ktrdrv1.ControllerMessage_NoSlice:
		why := kind.NoSlice
		s.link.cfg.Source.Absent(source.Reason(clean(why.GetReason(), maxName)), clean(why.GetMessage(), maxText))
	case *ktrdrv1.ControllerMessage_Cancel:
		s.commands.cancel(kind.Cancel.GetId())
	}
	return nil
}
