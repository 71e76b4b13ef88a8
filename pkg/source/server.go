package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// errTransfer: the server's bytes were bad, or more than the limit; the cache is not to blame.
var errTransfer = errors.New("the server's answer is unusable")

// maxAdvertisement bounds the list of references. A repository with 100,000 of them needs about 7 MiB.
const maxAdvertisement = 16 << 20

// dialer opens connections of one kind (https, ssh).
type dialer interface {
	// dial returns a session that ends, whatever it is doing, when ctx does. secrets are strings that must not be shown.
	dial(ctx context.Context) (s transport.UploadPackSession, secrets []string, err error)
	// dialPush is dial for sending commits.
	dialPush(ctx context.Context) (s transport.ReceivePackSession, secrets []string, err error)
	// explain gives an error of dial or of the session its Reason.
	explain(err error) error
	close()
}

// server is a git server as an origin, with a repository in the cache.
type server struct {
	cfg     GitConfig
	dialer  dialer
	repo    repo
	secrets []string
}

func newServer(cfg GitConfig, ep *transport.Endpoint) *server {
	s := &server{cfg: cfg, repo: repo{dir: cfg.CacheDir + "/git", max: cfg.Limits.MaxTransferBytes}}
	if ep.Protocol == "ssh" {
		s.dialer = sshDialer{auth: cfg.SSH, ep: ep}
	} else {
		s.dialer = newHTTPSDialer(cfg, ep)
	}
	return s
}

// tip reads the reference advertisement, which is all that happens when nothing changed.
func (s *server) tip(ctx context.Context, branch string) (offer, error) {
	session, secrets, err := s.dialer.dial(ctx)
	s.secrets = secrets
	if err != nil {
		return nil, err
	}
	adv, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		_ = session.Close()
		return nil, err
	}
	hash, ok := adv.References["refs/heads/"+branch]
	if !ok {
		_ = session.Close()
		return nil, fail(ReasonBranchNotFound, "the repository has no such branch%s; push it or correct the configured branch", others(adv))
	}
	return &serverOffer{server: s, session: session, adv: adv, hash: hash}, nil
}

// others lists a few branches that do exist: the usual cause is main against master.
func others(adv *packp.AdvRefs) string {
	var names []string
	for ref := range adv.References {
		if name, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
			names = append(names, printable(name))
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	if len(names) > 5 {
		names = append(names[:5], "…")
	}
	return " (it has " + strings.Join(names, ", ") + ")"
}

// explain leaves errors that have a Reason alone, asks the dialer about all others, and removes secrets.
func (s *server) explain(err error) error {
	var e *Error
	var network *networkError
	switch {
	case errors.As(err, &e):
	case errors.Is(err, errCorrupt):
		return &Error{Reason: ReasonCacheCorrupt, Err: err}
	case errors.Is(err, errStorage):
		return err
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		err = fail(ReasonBranchNotFound, "the repository is empty; push a first commit")
	case errors.Is(err, transport.ErrRepositoryNotFound):
		err = fail(ReasonRepositoryNotFound, "the server has no such repository, or this credential may not see it; check URL and access rights")
	case errors.As(err, &network):
		err = s.dialer.explain(network.err)
	default:
		err = s.dialer.explain(err)
	}
	return s.redact(err)
}

// redact replaces secrets that a server may have echoed, and bounds what it said.
func (s *server) redact(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	text := e.Err.Error()
	shown := text
	for _, secret := range s.secrets {
		if secret != "" {
			shown = strings.ReplaceAll(shown, secret, "[redacted]")
		}
	}
	if shown = harmless(shown, 1000); shown == text {
		return err
	}
	return &Error{Reason: e.Reason, Err: errors.New(shown)}
}

func (s *server) close() { s.dialer.close() }

type serverOffer struct {
	server  *server
	session transport.UploadPackSession
	adv     *packp.AdvRefs
	hash    plumbing.Hash
}

func (o *serverOffer) commit() plumbing.Hash { return o.hash }

func (o *serverOffer) close() { _ = o.session.Close() }

// objects transfers what the cache lacks.
func (o *serverOffer) objects(ctx context.Context) (store storer.EncodedObjectStorer, err error) {
	defer corruptOnPanic(&err)
	st, have, err := o.server.repo.open()
	if err != nil {
		return nil, err
	}
	if have == o.hash {
		return st, nil
	}
	pack, req, err := o.request(ctx, have)
	if err != nil {
		return nil, err
	}
	defer func() { _ = pack.Close() }()
	in := transfer{ctx: ctx, from: demultiplex(req, pack)}
	if have.IsZero() {
		err = o.server.repo.receive(in)
	} else {
		err = o.server.repo.receiveThin(in, st)
	}
	if err != nil {
		return nil, err
	}
	return o.server.repo.advance(o.hash)
}

// request asks for the newest commit, without its history unless that is wanted, less what the commit have brought before.
func (o *serverOffer) request(ctx context.Context, have plumbing.Hash) (*packp.UploadPackResponse, *packp.UploadPackRequest, error) {
	req := packp.NewUploadPackRequestFromCapabilities(o.adv.Capabilities)
	req.Wants = []plumbing.Hash{o.hash}
	if o.adv.Capabilities.Supports(capability.NoProgress) {
		if err := req.Capabilities.Set(capability.NoProgress); err != nil {
			return nil, nil, err
		}
	}
	if o.server.cfg.History {
		if have.IsZero() {
			return o.send(ctx, req)
		}
		req.Haves = []plumbing.Hash{have}
		if err := req.Capabilities.Set(capability.ThinPack); err != nil {
			return nil, nil, err
		}
		return o.send(ctx, req)
	}
	if o.adv.Capabilities.Supports(capability.Shallow) {
		req.Depth = packp.DepthCommits(1)
		if err := req.Capabilities.Set(capability.Shallow); err != nil {
			return nil, nil, err
		}
		if !have.IsZero() {
			// Without the shallow line the server would think that the history of have is here too.
			req.Haves, req.Shallows = []plumbing.Hash{have}, []plumbing.Hash{have}
			// Only for a thin pack git leaves out the files of a commit that is not in the history it sends.
			if err := req.Capabilities.Set(capability.ThinPack); err != nil {
				return nil, nil, err
			}
		}
	}
	return o.send(ctx, req)
}

func (o *serverOffer) send(ctx context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, *packp.UploadPackRequest, error) {
	res, err := o.session.UploadPack(ctx, req)
	if err != nil {
		return nil, nil, fmt.Errorf("request objects: %w", unwrapped(err))
	}
	return res, req, nil
}

// unwrapped opens the library's error types that have no Unwrap.
func unwrapped(err error) error {
	var unexpected *plumbing.UnexpectedError
	var permanent *plumbing.PermanentError
	switch {
	case errors.As(err, &unexpected):
		return unexpected.Err
	case errors.As(err, &permanent):
		return permanent.Err
	default:
		return err
	}
}

// demultiplex takes the pack out of the sideband that carries it.
func demultiplex(req *packp.UploadPackRequest, r *packp.UploadPackResponse) *blamed {
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		return &blamed{r: sideband.NewDemuxer(sideband.Sideband64k, r)}
	case req.Capabilities.Supports(capability.Sideband):
		return &blamed{r: sideband.NewDemuxer(sideband.Sideband, r)}
	default:
		return &blamed{r: r}
	}
}
