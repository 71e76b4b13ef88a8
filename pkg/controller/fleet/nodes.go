package fleet

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Enrollment makes join tokens and removes nodes: pkg/controller/enroll.
type Enrollment interface {
	NewJoinToken(ctx context.Context, node string, ttl time.Duration, by string) (pki.JoinToken, time.Time, error)
	RemoveNode(ctx context.Context, node string) error
}

// Nodes answers NodeService. Safe for concurrent use.
type Nodes struct {
	ktrdrv1.UnimplementedNodeServiceServer

	service *Service
	enroll  Enrollment
}

// NewNodes makes it.
func NewNodes(s *Service, e Enrollment) *Nodes { return &Nodes{service: s, enroll: e} }

// ListNodes lists nodes of the desired state and nodes that joined, without their status.
func (n *Nodes) ListNodes(ctx context.Context, _ *ktrdrv1.ListNodesRequest) (*ktrdrv1.ListNodesResponse, error) {
	v, err := n.service.view(ctx)
	if err != nil {
		return nil, n.service.failed(ctx, "list nodes", err)
	}
	known := n.service.cfg.Hub.News(0).Nodes
	out := &ktrdrv1.ListNodesResponse{}
	for _, name := range v.names(known) {
		node := hub.Node{Name: name}
		if at := slices.IndexFunc(known, func(k hub.Node) bool { return k.Name == name }); at >= 0 {
			node = known[at]
		}
		node.Status = nil
		out.Nodes = append(out.Nodes, v.node(node))
	}
	return out, nil
}

// CreateJoinToken makes a one-time token. The node need not be in the desired state yet.
func (n *Nodes) CreateJoinToken(ctx context.Context, r *ktrdrv1.CreateJoinTokenRequest) (*ktrdrv1.CreateJoinTokenResponse, error) {
	const most = 7 * 24 * 60 * 60
	if r.GetTtlSeconds() < 0 || r.GetTtlSeconds() > most {
		return nil, status.Errorf(codes.InvalidArgument, "make join token: it can be good for %d seconds at most", most)
	}
	token, expires, err := n.enroll.NewJoinToken(ctx, r.GetNode(), time.Duration(r.GetTtlSeconds())*time.Second, by(ctx))
	switch {
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrFull):
		return nil, n.service.failed(ctx, "make join token", err)
	case err != nil:
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &ktrdrv1.CreateJoinTokenResponse{JoinToken: token.Text(), Expires: wire.Timestamp(expires)}, nil
}

// Cordon keeps new revisions from a node.
func (n *Nodes) Cordon(ctx context.Context, r *ktrdrv1.CordonRequest) (*ktrdrv1.CordonResponse, error) {
	if len(r.GetWhy()) > maxWhy {
		return nil, status.Errorf(codes.InvalidArgument, "cordon: more than %d bytes of explanation", maxWhy)
	}
	cordon := &store.Cordon{By: by(ctx), Why: r.GetWhy(), At: time.Now().UTC()}
	if err := n.cordon(ctx, r.GetNode(), cordon); err != nil {
		return nil, err
	}
	return &ktrdrv1.CordonResponse{}, nil
}

// Uncordon ends that: the node gets what it missed, unless that rollout was stopped.
func (n *Nodes) Uncordon(ctx context.Context, r *ktrdrv1.UncordonRequest) (*ktrdrv1.UncordonResponse, error) {
	if err := n.cordon(ctx, r.GetNode(), nil); err != nil {
		return nil, err
	}
	return &ktrdrv1.UncordonResponse{}, nil
}

func (n *Nodes) cordon(ctx context.Context, node string, cordon *store.Cordon) error {
	now, err := n.service.cfg.Store.Nodes().Update(ctx, node, func(record *store.Node) error {
		if (record.Cordoned == nil) != (cordon == nil) {
			record.Cordoned = cordon
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalid) {
		return status.Errorf(codes.NotFound, "there is no node %.80q that has joined", node)
	}
	if err != nil {
		return n.service.failed(ctx, "cordon node "+node, err)
	}
	n.known(ctx, node, func(k hub.Node) bool { return k.Joined != nil && k.Joined.Generation >= now.Generation })
	return nil
}

// knownWithin bounds the wait until this controller shows what it has done. It is done anyway.
const knownWithin = 5 * time.Second

// known waits until whoever looks at the fleet next sees what was done to a node.
func (n *Nodes) known(ctx context.Context, node string, is func(hub.Node) bool) {
	ctx, cancel := context.WithTimeout(ctx, knownWithin)
	defer cancel()
	n.service.cfg.Hub.Await(ctx, node, is)
}

// RemoveNode revokes a node's certificates and forgets it. Its containers run on.
func (n *Nodes) RemoveNode(ctx context.Context, r *ktrdrv1.RemoveNodeRequest) (*ktrdrv1.RemoveNodeResponse, error) {
	err := n.enroll.RemoveNode(ctx, r.GetNode())
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalid) {
		return nil, status.Errorf(codes.NotFound, "there is no node %.80q that has joined", r.GetNode())
	}
	if err != nil {
		return nil, n.service.failed(ctx, "remove node "+cut(r.GetNode(), 80), err)
	}
	n.known(ctx, r.GetNode(), func(k hub.Node) bool { return k.Joined == nil && !k.Connected })
	return &ktrdrv1.RemoveNodeResponse{}, nil
}
