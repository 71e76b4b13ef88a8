package fleet

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// maxEvents is how many events before now may be asked for.
	maxEvents = 1000
	// othersTimeout is how long another controller may take to tell what it has.
	othersTimeout = 3 * time.Second
	// othersPause is the time between two looks for controllers whose events are not followed.
	othersPause = 2 * time.Second
)

// Others are the other controllers of the fleet: each has the events of its own nodes.
type Others interface {
	// List returns the ids of those that are registered.
	List(ctx context.Context) ([]string, error)
	// Events gives those of one, see pkg/controller/peers.
	Events(ctx context.Context, id string, r *ktrdrv1.PeerEventsRequest, each func(*ktrdrv1.PeerEventsResponse) error) error
}

// here is who has an event of this controller.
const here = ""

// told is an event, and who told it.
type told struct {
	by    string
	node  string
	event *ktrdrv1.Event
	// at is its place among those of others: the time of the newest one up to it of its origin.
	at time.Time
}

// Events streams events of nodes and of controllers, wherever nodes are connected. Those before
// now come in the order of their time, new ones as they arrive, each once.
func (s *Service) Events(r *ktrdrv1.EventsRequest, out grpc.ServerStreamingServer[ktrdrv1.FleetEvent]) error {
	named := slices.DeleteFunc(slices.Clone(r.GetNodes()), func(name string) bool { return name == "" }) // the controller's own
	if _, err := s.nodesOf(out.Context(), "", named); err != nil {
		return s.failed(out.Context(), "read events", err)
	}
	ctx, cancel := context.WithCancel(out.Context())
	defer cancel()
	w := &eventWatch{service: s, nodes: r.GetNodes(), marks: map[string]uint64{}, news: make(chan told)}
	var sources sync.WaitGroup
	defer sources.Wait()
	defer cancel()
	past := w.past(ctx, r.GetFollow(), &sources)
	limit := min(max(int(r.GetLimit()), 0), maxEvents)
	for _, e := range past[max(0, len(past)-limit):] {
		if err := out.Send(&ktrdrv1.FleetEvent{Node: e.node, Event: e.event}); err != nil {
			return err
		}
	}
	for r.GetFollow() {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.news:
			if !w.isNew(e) {
				continue
			}
			if err := out.Send(&ktrdrv1.FleetEvent{Node: e.node, Event: e.event}); err != nil {
				return err
			}
		}
	}
	return nil
}

// eventWatch is one caller of Events.
type eventWatch struct {
	service *Service
	nodes   []string
	// marks are the highest numbers that were told, by origin: a node numbers its events itself,
	// ever higher, so that it does not matter which controller tells one, or how often.
	marks map[string]uint64
	news  chan told
}

// origin is who numbers an event.
func (e told) origin() string {
	if e.node == "" {
		return "controller " + e.by
	}
	return e.node
}

// isNew tells whether an event was not told yet, and notes it.
func (w *eventWatch) isNew(e told) bool {
	if e.event.GetSeq() <= w.marks[e.origin()] {
		return false
	}
	w.marks[e.origin()] = e.event.GetSeq()
	return true
}

// past collects what all controllers have, by time. To follow, their streams go on into news.
func (w *eventWatch) past(ctx context.Context, follow bool, sources *sync.WaitGroup) []told { //nolint:revive // the request's word
	var mu sync.Mutex
	var list []told
	add := func(e told) error {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, e)
		return nil
	}
	hubs := w.service.cfg.Hub
	from := make(chan struct{})
	sources.Go(func() {
		keep := add
		_ = hubs.StreamEvents(ctx, hub.EventQuery{Nodes: w.nodes, Limit: maxEvents, Follow: follow},
			func(e hub.Event) error { return keep(told{by: here, node: e.Node, event: e.Event}) },
			func() error { keep = w.hand(ctx); close(from); return nil })
	})
	ids, asked := w.others(ctx), sync.WaitGroup{}
	for _, id := range ids {
		asked.Go(func() {
			limited, cancel := context.WithTimeout(ctx, othersTimeout)
			defer cancel()
			err := w.service.cfg.Others.Events(limited, id, &ktrdrv1.PeerEventsRequest{Nodes: w.nodes, Limit: maxEvents}, func(e *ktrdrv1.PeerEventsResponse) error {
				if e.GetEvent() == nil {
					return nil
				}
				return add(told{by: id, node: e.GetNode(), event: e.GetEvent()})
			})
			if err != nil && ctx.Err() == nil {
				_ = add(lacking(id, err))
			}
		})
	}
	asked.Wait()
	select {
	case <-from:
	case <-ctx.Done():
	}
	if follow && w.service.cfg.Others != nil {
		sources.Go(func() { w.followOthers(ctx) })
	}
	mu.Lock()
	defer mu.Unlock()
	return w.ordered(list)
}

// hand passes events on while somebody listens.
func (w *eventWatch) hand(ctx context.Context) func(told) error {
	return func(e told) error {
		select {
		case w.news <- e:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ordered leaves out what several controllers have, and notes what was told. Events of one
// origin stay in the order of their numbers: its clock may have been set back.
func (w *eventWatch) ordered(list []told) []told {
	seen := map[string]bool{}
	list = slices.DeleteFunc(list, func(e told) bool {
		key := e.origin() + " " + strconv.FormatUint(e.event.GetSeq(), 10)
		again := seen[key]
		seen[key] = true
		return again
	})
	slices.SortStableFunc(list, func(x, y told) int { return cmp.Compare(x.event.GetSeq(), y.event.GetSeq()) })
	newest := map[string]time.Time{}
	for i := range list {
		e := &list[i]
		origin := e.origin()
		w.marks[origin] = max(w.marks[origin], e.event.GetSeq())
		if e.at = e.event.GetTime().AsTime(); e.event.GetSeq() == 0 {
			continue // said of it, not by it
		}
		if e.at.Before(newest[origin]) {
			e.at = newest[origin]
		}
		newest[origin] = e.at
	}
	slices.SortStableFunc(list, func(x, y told) int { return x.at.Compare(y.at) })
	return list
}

// lacking says that a controller's events are missing. It has no number: nothing is newer.
func lacking(id string, err error) told {
	return told{by: id, event: &ktrdrv1.Event{
		Time: timestamppb.New(time.Now()), Level: "warn", Object: id, Reason: reasonElsewhere,
		Message: wire.Text(cut("events of nodes at another controller are missing here: "+err.Error(), 1<<10)),
	}}
}

func (w *eventWatch) others(ctx context.Context) []string {
	if w.service.cfg.Others == nil {
		return nil
	}
	ids, err := w.service.cfg.Others.List(ctx)
	if err != nil && ctx.Err() == nil {
		w.service.cfg.Log.WarnContext(ctx, "other controllers are not known", "err", err)
	}
	return ids
}

// followOthers follows the events of every controller there is, also of those that come back.
func (w *eventWatch) followOthers(ctx context.Context) {
	var mu sync.Mutex
	under := map[string]bool{}
	var streams sync.WaitGroup
	defer streams.Wait()
	for ctx.Err() == nil {
		for _, id := range w.others(ctx) {
			mu.Lock()
			begun := under[id]
			under[id] = true
			mu.Unlock()
			if begun {
				continue
			}
			streams.Go(func() {
				hand := w.hand(ctx)
				_ = w.service.cfg.Others.Events(ctx, id, &ktrdrv1.PeerEventsRequest{Nodes: w.nodes, Limit: maxEvents, Follow: true}, func(e *ktrdrv1.PeerEventsResponse) error {
					if e.GetEvent() == nil {
						return nil
					}
					return hand(told{by: id, node: e.GetNode(), event: e.GetEvent()})
				})
				mu.Lock()
				defer mu.Unlock()
				delete(under, id)
			})
		}
		pause(ctx, othersPause)
	}
}
