package enroll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// maxJoinToken is the longest text that is looked at, in bytes.
const maxJoinToken = 512

// Config of a Service.
type Config struct {
	Store *store.Store
	// Authority is the one in force; it is asked for each certificate.
	Authority func() *pki.Authority
	// Endpoints are the controllers as host:port that agents may connect to.
	Endpoints []string
	// Recheck ends open streams of those who lost their access: access.Guard's.
	Recheck func(context.Context)
	Log     *slog.Logger
}

// Service answers EnrollmentService and AccessService. It is for concurrent use.
type Service struct {
	ktrdrv1.UnimplementedEnrollmentServiceServer
	ktrdrv1.UnimplementedAccessServiceServer

	cfg Config
}

// New makes a service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// errJoinToken is all that a stranger learns of a join token that is not good.
var errJoinToken = status.Error(codes.Unauthenticated, "the join token is not good: it is unknown, used, expired or for another node; make a new one with ktrdrctl node join-token")

// Join redeems a one-time token for a node's certificate. The trail says what was wrong
// with a token; the caller is not told.
func (s *Service) Join(ctx context.Context, r *ktrdrv1.JoinRequest) (*ktrdrv1.JoinResponse, error) {
	if len(r.GetJoinToken()) > maxJoinToken {
		return nil, errJoinToken
	}
	token, err := pki.ParseJoinToken(r.GetJoinToken())
	if err != nil {
		access.Note(ctx, "", err.Error())
		return nil, errJoinToken
	}
	access.Note(ctx, "node="+token.Node, "token "+token.ID)
	key, err := pki.ParseCSR(r.GetCsr())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	_, err = s.cfg.Store.Redeem(ctx, store.Redemption{
		ID: token.ID, Hash: token.Hash(), Node: token.Node, Key: key.Fingerprint(), From: from(ctx), At: time.Now(),
	})
	switch {
	case errors.Is(err, store.ErrTokenInvalid), errors.Is(err, store.ErrTokenUsed), errors.Is(err, store.ErrTokenExpired):
		access.Note(ctx, "", err.Error())
		return nil, errJoinToken
	case err != nil:
		return nil, s.failed(ctx, "join node "+token.Node, err)
	}
	authority := s.cfg.Authority()
	issued, err := authority.IssueNode(token.Node, r.GetCsr())
	if err != nil {
		return nil, s.failed(ctx, "join node "+token.Node, err)
	}
	if err := s.enrol(ctx, token.Node, issued); err != nil {
		return nil, s.failed(ctx, "join node "+token.Node, err)
	}
	access.Note(ctx, "", fmt.Sprintf("token %s, host %.80q, agent %.40q, certificate %s", token.ID, r.GetHostname(), r.GetVersion(), issued.Serial))
	return &ktrdrv1.JoinResponse{
		Node: token.Node, Chain: issued.Chain, Authority: authority.BundleDER(), Endpoints: s.cfg.Endpoints,
	}, nil
}

func from(ctx context.Context) string {
	caller, _ := access.CallerFrom(ctx)
	return caller.From
}

// enrol makes the node, or gives one that was set up anew its certificate: what it had
// before is of no use from then on.
func (s *Service) enrol(ctx context.Context, name string, issued *pki.Issued) error {
	adopt := func(n *store.Node) error {
		n.JoinedAt, n.CertSerial, n.PrevSerial, n.CertNotAfter = time.Now().UTC(), issued.Serial, "", issued.Leaf.NotAfter
		return nil
	}
	_, err := s.cfg.Store.Nodes().Update(ctx, name, adopt)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	node := store.Node{Name: name}
	if err := adopt(&node); err != nil {
		return err
	}
	return s.cfg.Store.Nodes().Create(ctx, node)
}

// Renew gives the calling node a certificate for a new key. The one that it shows is good
// until the new one was used.
func (s *Service) Renew(ctx context.Context, r *ktrdrv1.RenewRequest) (*ktrdrv1.RenewResponse, error) {
	caller, ok := access.CallerFrom(ctx)
	if !ok || caller.Role != access.Node || caller.Serial == "" {
		return nil, status.Error(codes.PermissionDenied, "only a node renews its certificate, with its certificate")
	}
	access.Note(ctx, "node="+caller.Name, "")
	if _, err := pki.ParseCSR(r.GetCsr()); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	authority := s.cfg.Authority()
	issued, err := authority.IssueNode(caller.Name, r.GetCsr())
	if err != nil {
		return nil, s.failed(ctx, "renew the certificate of node "+caller.Name, err)
	}
	_, err = s.cfg.Store.Nodes().Update(ctx, caller.Name, func(n *store.Node) error {
		// The node may have been removed, or have joined anew, since the guard looked.
		if caller.Serial != n.CertSerial && caller.Serial != n.PrevSerial {
			return access.ErrDenied
		}
		n.PrevSerial, n.CertSerial, n.CertNotAfter = caller.Serial, issued.Serial, issued.Leaf.NotAfter
		return nil
	})
	switch {
	case errors.Is(err, access.ErrDenied), errors.Is(err, store.ErrNotFound):
		return nil, status.Error(codes.Unauthenticated, "this certificate is not the node's any more; the node has to join again")
	case err != nil:
		return nil, s.failed(ctx, "renew the certificate of node "+caller.Name, err)
	}
	access.Note(ctx, "", "certificate "+issued.Serial)
	return &ktrdrv1.RenewResponse{Chain: issued.Chain, Authority: authority.BundleDER(), Endpoints: s.cfg.Endpoints}, nil
}

// failed gives an error the code that tells a caller what to do about it.
func (s *Service) failed(ctx context.Context, doing string, err error) error {
	code := codes.Internal
	switch {
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrFull):
		code = codes.Unavailable
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, store.ErrNotFound):
		code = codes.NotFound
	}
	caller, _ := access.CallerFrom(ctx)
	s.cfg.Log.WarnContext(ctx, "call failed", slog.String("op", doing), slog.String("who", caller.String()), slog.Any("err", err))
	if caller.Role == access.Anonymous || !isKnown(code) {
		return status.Error(code, doing+": the controller's log says why; try again")
	}
	return status.Errorf(code, "%s: %v", doing, err)
}

func isKnown(code codes.Code) bool { return code != codes.Internal }
