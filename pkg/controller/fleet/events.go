package fleet

import (
	"slices"
	"sort"
	"time"

	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/controller/hub"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// maxEvents is how many events before now may be asked for.
const maxEvents = 1000

// Events streams events of nodes and of the controller. Those before now come in the order of
// their time, new ones as they arrive.
func (s *Service) Events(r *ktrdrv1.EventsRequest, out grpc.ServerStreamingServer[ktrdrv1.FleetEvent]) error {
	ctx := out.Context()
	nodes := slices.DeleteFunc(slices.Clone(r.GetNodes()), func(name string) bool { return name == "" }) // the controller's own
	if _, err := s.nodesOf(ctx, "", nodes); err != nil {
		return s.failed(ctx, "read events", err)
	}
	wanted := func(e hub.Event) bool { return len(r.GetNodes()) == 0 || slices.Contains(r.GetNodes(), e.Node) }
	events, changed := s.cfg.Hub.Events(0)
	var seq uint64
	if len(events) > 0 {
		seq = events[len(events)-1].Seq
	}
	events = slices.DeleteFunc(events, func(e hub.Event) bool { return !wanted(e) })
	sort.SliceStable(events, func(i, j int) bool { return at(events[i]).Before(at(events[j])) })
	limit := min(max(int(r.GetLimit()), 0), maxEvents)
	for _, e := range events[max(0, len(events)-limit):] {
		if err := out.Send(&ktrdrv1.FleetEvent{Node: e.Node, Event: e.Event}); err != nil {
			return err
		}
	}
	for r.GetFollow() {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		events, changed = s.cfg.Hub.Events(seq)
		for _, e := range events {
			seq = e.Seq
			if !wanted(e) {
				continue
			}
			if err := out.Send(&ktrdrv1.FleetEvent{Node: e.Node, Event: e.Event}); err != nil {
				return err
			}
		}
	}
	return nil
}

func at(e hub.Event) time.Time { return e.Event.GetTime().AsTime() }
