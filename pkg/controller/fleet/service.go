package fleet

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/desired/edit"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Config of a Service.
type Config struct {
	Version string
	Store   *store.Store
	Hub     *hub.Hub
	Shelf   *slicing.Shelf
	Ledger  *Ledger
	Driver  *Driver
	Gate    *Gate
	Repo    Repository
	// Look makes a followed repository be looked at now; nil for a hosted one.
	Look func(ctx context.Context) error
	// Others are the other controllers; nil when there are none.
	Others Others
	// Problems are statements about the controller itself; nil for none.
	Problems func() []api.Condition
	// UploadLimit is how long the upload of a folder may take; 0 is a minute.
	UploadLimit time.Duration
	Log         *slog.Logger
}

// Service answers FleetService. Safe for concurrent use.
type Service struct {
	ktrdrv1.UnimplementedFleetServiceServer

	cfg Config

	mu       sync.Mutex
	uploads  chan struct{}
	planning chan struct{}
	inUse    map[string]int
}

// New makes a service.
func New(cfg Config) *Service {
	cfg.UploadLimit = cmp.Or(cfg.UploadLimit, uploadLimit)
	return &Service{cfg: cfg, uploads: make(chan struct{}, maxUploads), planning: make(chan struct{}, maxTreePlans), inUse: map[string]int{}}
}

// GetFleet returns the state of all nodes, or of some.
func (s *Service) GetFleet(ctx context.Context, r *ktrdrv1.GetFleetRequest) (*ktrdrv1.Fleet, error) {
	v, err := s.shown(ctx)
	if err != nil {
		return nil, s.failed(ctx, "read the fleet", err)
	}
	nodes := s.cfg.Hub.News(0).Nodes
	if err := v.check(nodes, r.GetNodes()); err != nil {
		return nil, err
	}
	out := s.fleet(v)
	size := proto.Size(out)
	for n := range v.nodes(nodes, r.GetNodes()) {
		if size += proto.Size(n) + framing; size > replySize {
			return nil, status.Errorf(codes.ResourceExhausted, "the state of more than %d nodes does not fit into a message, which has %d bytes at most: name some of them, or watch the fleet", len(out.GetNodes()), replySize)
		}
		out.Nodes = append(out.Nodes, n)
	}
	return out, nil
}

// check refuses names of nodes that nobody knows.
func (v *view) check(nodes []hub.Node, names []string) error {
	if len(names) > maxNames {
		return status.Errorf(codes.InvalidArgument, "more than %d nodes are named", maxNames)
	}
	all := v.names(nodes)
	for _, name := range names {
		if _, found := slices.BinarySearch(all, name); !found {
			return status.Errorf(codes.NotFound, "there is no node %.80q", name)
		}
	}
	return nil
}

// maxNames bounds a request.
const maxNames = 10_000

// watchRest is the least time between two messages of a watch: what changes meanwhile is one.
const watchRest = 200 * time.Millisecond

// WatchFleet sends the fleet as GetFleet does, in parts, and after that every node that changes.
func (s *Service) WatchFleet(r *ktrdrv1.GetFleetRequest, out grpc.ServerStreamingServer[ktrdrv1.FleetUpdate]) error {
	ctx := out.Context()
	w := &fleetWatch{service: s, only: r.GetNodes()}
	for {
		changed := s.cfg.Ledger.Changed()
		parts, news, err := w.next(ctx)
		if err != nil {
			return err
		}
		for part := range parts {
			if err := out.Send(part); err != nil {
				return err
			}
		}
		pause(ctx, watchRest)
		select {
		case <-ctx.Done():
			return nil
		case <-news:
		case <-changed:
		}
	}
}

// fleetWatch is where one watch stands.
type fleetWatch struct {
	service *Service
	only    []string
	seq     uint64
	last    *view
}

// next returns what changed and how to wait for more.
func (w *fleetWatch) next(ctx context.Context) (iter.Seq[*ktrdrv1.FleetUpdate], <-chan struct{}, error) {
	v, err := w.service.shown(ctx)
	if err != nil {
		return nil, nil, w.service.failed(ctx, "read the fleet", err)
	}
	// What can be read again, or no longer, is told anew as a whole.
	first := w.last == nil || (v.unread == nil) != (w.last.unread == nil)
	if first || v.targetsDiffer(w.last) {
		w.seq = 0 // what a node is to have is part of it
	}
	news := w.service.cfg.Hub.News(w.seq)
	w.seq = news.Seq
	defer func() { w.last = v }()
	if first {
		if err := v.check(news.Nodes, w.only); err != nil {
			return nil, nil, err
		}
		return partsOf(&ktrdrv1.FleetUpdate{Fleet: w.service.fleet(v)}, v.nodes(news.Nodes, w.only)), news.Changed, nil
	}
	return w.update(v, news), news.Changed, nil
}

// update is what came since the last look.
func (w *fleetWatch) update(v *view, news hub.News) iter.Seq[*ktrdrv1.FleetUpdate] {
	update, told := &ktrdrv1.FleetUpdate{}, false
	var nodes []hub.Node
	for _, n := range news.Nodes {
		if len(w.only) == 0 || slices.Contains(w.only, n.Name) {
			nodes, told = append(nodes, n), true
		}
	}
	for _, name := range news.Gone {
		if _, wanted := v.outline.Nodes[name]; !wanted {
			update.Removed, told = append(update.Removed, name), true
			continue
		}
		nodes, told = append(nodes, hub.Node{Name: name}), true
	}
	if c := v.commit(); !proto.Equal(c, w.last.commit()) {
		update.Head, told = c, true
	}
	if v.Newest.Number != w.last.Newest.Number || v.Newest.Record.Phase != w.last.Newest.Record.Phase || !sameProgress(&v.Newest.Record, &w.last.Newest.Record) {
		update.Rollout, told = rolloutToProto(&v.Newest.Record), v.Newest.Number > 0
	}
	if !told {
		return func(func(*ktrdrv1.FleetUpdate) bool) {}
	}
	return partsOf(update, func(yield func(*ktrdrv1.Node) bool) {
		for _, n := range nodes {
			if !yield(v.node(n)) {
				return
			}
		}
	})
}

// failed is an error that operators may see; one that is no status already is logged.
func (s *Service) failed(ctx context.Context, doing string, err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	code := codes.Internal
	switch {
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrFull):
		code = codes.Unavailable
	case errors.Is(err, store.ErrConflict):
		code = codes.Aborted
	case errors.Is(err, store.ErrNotFound):
		code = codes.NotFound
	}
	if refused, ok := errors.AsType[*refusal](err); ok {
		return refusedStatus(refused)
	}
	if problems, ok := errors.AsType[*desired.Error](err); ok {
		return refusedStatus(refuse(problems.Problems))
	}
	if lines, ok := errors.AsType[*repo.Refusal](err); ok {
		return refusedStatus(&refusal{Refusal: lines})
	}
	if nonsense, ok := errors.AsType[*edit.RequestError](err); ok {
		return status.Errorf(codes.InvalidArgument, "%s: %s", doing, nonsense)
	}
	switch {
	case errors.Is(err, repo.ErrUnknownRevision):
		return status.Errorf(codes.NotFound, "%s: %s", doing, err)
	case errors.Is(err, repo.ErrEmpty):
		return status.Errorf(codes.FailedPrecondition, "%s: %s", doing, err)
	case errors.Is(err, repo.ErrHeadMoved):
		code = codes.Aborted
	}
	s.cfg.Log.WarnContext(ctx, "call failed", "doing", doing, "err", err)
	return status.Errorf(code, "%s: %s", doing, err)
}

// conditions are what is wrong with the controller itself.
func (s *Service) conditions() []*ktrdrv1.Condition {
	if s.cfg.Problems == nil {
		return nil
	}
	var out []*ktrdrv1.Condition
	for _, c := range s.cfg.Problems() {
		out = append(out, wire.ConditionToProto(c))
	}
	return out
}
