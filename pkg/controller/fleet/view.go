package fleet

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// view puts together what operators see. It is one moment.
type view struct {
	Moment

	outline *desired.Outline // of the head; empty before the first one
	// unread is why the head's files could not be read: outline has the rollout's nodes then.
	unread error
}

func (s *Service) view(ctx context.Context) (*view, error) {
	v := &view{Moment: s.cfg.Ledger.Moment(), outline: &desired.Outline{}}
	if v.Head.Revision == "" {
		return v, nil
	}
	outline, err := s.outline(ctx, v.Head.Revision)
	if err != nil {
		return nil, err
	}
	v.outline = outline
	return v, nil
}

// outline is what a revision says about its nodes.
func (s *Service) outline(ctx context.Context, revision string) (*desired.Outline, error) {
	tree, err := s.cfg.Shelf.Tree(ctx, revision)
	if err != nil {
		return nil, err
	}
	return tree.Outline(ctx)
}

// names are the nodes that the head has and those that are known otherwise, sorted.
func (v *view) names(nodes []hub.Node) []string {
	names := slices.Collect(maps.Keys(v.outline.Nodes))
	for i := range nodes {
		names = append(names, nodes[i].Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// node is one node as operators see it.
func (v *view) node(n hub.Node) *ktrdrv1.Node {
	file, wanted := v.outline.Nodes[n.Name]
	target := v.Newest.Record.Targets[n.Name]
	out := &ktrdrv1.Node{
		Name: n.Name, Hostname: file.Spec.Hostname, Connected: n.Connected, Seen: wire.Timestamp(n.Seen), Address: n.Address, Version: n.Version,
		Target: target.Revision, Accepted: target.Digest != "" && n.Digest == target.Digest,
		Pools: v.pools(n.Name), Joined: n.Joined != nil, Desired: wanted, Status: n.Status.Message(), StatusAt: wire.Timestamp(n.StatusAt),
	}
	if n.Joined != nil {
		out.CertificateEnds = wire.Timestamp(n.Joined.CertNotAfter)
		if c := n.Joined.Cordoned; c != nil {
			out.Cordon = &ktrdrv1.CordonState{By: c.By, Why: c.Why, At: wire.Timestamp(c.At)}
		}
	}
	if r := n.Refused; r != nil && r.Digest == target.Digest {
		out.Refused = &ktrdrv1.Condition{Type: api.ConditionBlocked, Status: true, Reason: r.Reason, Message: r.Message, Since: wire.Timestamp(n.Seen)}
	}
	return out
}

// pools are those of a node's stacks with the sizes that the head gives them.
func (v *view) pools(node string) []*ktrdrv1.PoolSize {
	file := v.outline.Nodes[node]
	var out []*ktrdrv1.PoolSize
	for _, stack := range file.Spec.Stacks {
		for name, pool := range v.outline.Stacks[stack.Name].Spec.Pools {
			size, set := file.Spec.Scale[name]
			if !set {
				size = pool.Default
			}
			out = append(out, &ktrdrv1.PoolSize{Pool: name, Node: node, Count: int32(min(size, 1<<20))}) //nolint:gosec // bounded
		}
	}
	slices.SortFunc(out, func(x, y *ktrdrv1.PoolSize) int { return cmp.Compare(x.GetPool(), y.GetPool()) })
	return out
}

// fleet is all but the nodes.
func (s *Service) fleet(v *view) *ktrdrv1.Fleet {
	out := &ktrdrv1.Fleet{
		Name: v.outline.Fleet.Metadata.Name, Time: timestamppb.New(time.Now()), Version: s.cfg.Version, Head: v.commit(), Conditions: append(s.conditions(), v.conditions()...),
	}
	if v.Newest.Number > 0 {
		out.Rollout = rolloutToProto(&v.Newest.Record)
	}
	return out
}

// nodes are those that were asked for, sorted by name; each is made when it is asked for.
func (v *view) nodes(nodes []hub.Node, only []string) iter.Seq[*ktrdrv1.Node] {
	return func(yield func(*ktrdrv1.Node) bool) {
		known := map[string]hub.Node{}
		for _, n := range nodes {
			known[n.Name] = n
		}
		for _, name := range v.names(nodes) {
			if len(only) > 0 && !slices.Contains(only, name) {
				continue
			}
			n, ok := known[name]
			if !ok {
				n.Name = name
			}
			if !yield(v.node(n)) {
				return
			}
		}
	}
}

// commit is the head with what became of it; nil before the first one.
func (v *view) commit() *ktrdrv1.Commit {
	c := commitOf(v.Head)
	if c != nil {
		c.Outcome, c.Message = outcome(v.Of, true)
	}
	return c
}

func commitOf(h store.Head) *ktrdrv1.Commit {
	if h.Revision == "" {
		return nil
	}
	return &ktrdrv1.Commit{Revision: h.Revision, Subject: h.Subject, Author: h.Author, By: h.By, Accepted: wire.Timestamp(h.AcceptedAt)}
}

// outcome is what became of a revision, by its newest rollout: that of the head is pending until
// it begins.
func outcome(of Entry, head bool) (outcome, message string) {
	switch {
	case of.Number > 0:
		return string(of.Record.Phase), wire.Text(of.Record.Message)
	case head:
		return "pending", ""
	default:
		return "", ""
	}
}

func rolloutToProto(r *rollout.Record) *ktrdrv1.Rollout {
	out := &ktrdrv1.Rollout{
		Revision: r.Revision, Phase: string(r.Phase), Reason: string(r.Reason), Message: r.Message,
		Started: wire.Timestamp(r.Started), Ended: wire.Timestamp(r.Ended),
	}
	for i := range r.Waves {
		w := &ktrdrv1.Wave{Name: r.Waves[i].Name, Phase: string(r.Waves[i].Phase)}
		for _, p := range r.Waves[i].Nodes {
			w.Nodes = append(w.Nodes, &ktrdrv1.NodeProgress{
				Node: p.Node, Phase: string(p.Phase), Reason: string(p.Reason), Message: wire.Text(p.Message),
				Converged: int32(min(p.Converged, 1<<20)), Stacks: int32(min(p.Stacks, 1<<20)), //nolint:gosec // bounded
			})
		}
		slices.SortFunc(w.GetNodes(), func(x, y *ktrdrv1.NodeProgress) int { return cmp.Compare(x.GetNode(), y.GetNode()) })
		out.Waves = append(out.Waves, w)
	}
	return out
}
