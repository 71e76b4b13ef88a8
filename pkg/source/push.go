package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// Push moves the branch of the remote repository.
type Push struct {
	// Old is the full hash that the branch must have, New the one that it gets.
	Old, New string
	// Pack holds the objects of New that Old does not have. Push reads and closes it.
	Pack io.ReadCloser
}

// Push sends commits to the server. The error's Reason is ReasonMoved when somebody else was
// faster, ReasonPushRefused when the server does not want it, or what Fetch would have.
func (g *Git) Push(ctx context.Context, p Push) error {
	op := "push to branch " + g.cfg.Branch + " of " + g.cfg.URL
	s, ok := g.origin.(*server)
	if !ok {
		_ = p.Pack.Close()
		return &Error{Reason: ReasonInvalid, Op: op, Err: errors.New("a repository on this machine can't be pushed to; use https or ssh")}
	}
	limited, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	select {
	case g.busy <- struct{}{}:
		defer func() { <-g.busy }()
	case <-limited.Done():
		_ = p.Pack.Close()
		return &Error{Reason: ReasonCanceled, Op: op, Err: limited.Err()}
	}
	if err := s.push(limited, g.cfg.Branch, p); err != nil {
		return during(op, g.classify(ctx, limited, err))
	}
	return nil
}

// ObjectDir is the bare repository in the cache that holds what was fetched: with History, all
// commits of the branch. "" for a repository on this machine that is read in place.
func (g *Git) ObjectDir() string {
	if _, ok := g.origin.(*server); !ok {
		return ""
	}
	return filepath.Join(g.cfg.CacheDir, "git")
}

func (s *server) push(ctx context.Context, branch string, p Push) (err error) {
	defer corruptOnPanic(&err)
	defer func() { _ = p.Pack.Close() }()
	session, secrets, err := s.dialer.dialPush(ctx)
	s.secrets = secrets
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	adv, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return err
	}
	ref := plumbing.NewBranchReferenceName(branch)
	if now := adv.References[ref.String()]; now.String() != p.Old {
		return fail(ReasonMoved, "the branch is at %.10s by now", now)
	}
	req := packp.NewReferenceUpdateRequestFromCapabilities(adv.Capabilities)
	// Without a side band there is no text of the server between the lines of its report.
	req.Capabilities.Delete(capability.Sideband64k)
	req.Commands = []*packp.Command{{Name: ref, Old: plumbing.NewHash(p.Old), New: plumbing.NewHash(p.New)}}
	req.Packfile = p.Pack
	report, err := session.ReceivePack(ctx, req)
	if report != nil && report.Error() != nil {
		return refusedPush(report)
	}
	if err != nil {
		return fmt.Errorf("send objects: %w", unwrapped(err))
	}
	return nil
}

// refusedPush finds out what a server means: what says that somebody was faster differs from
// server to server.
func refusedPush(report *packp.ReportStatus) error {
	said := report.UnpackStatus
	for _, c := range report.CommandStatuses {
		if c.Error() != nil {
			said = c.Status
		}
	}
	lower := strings.ToLower(said)
	for _, phrase := range []string{"fetch first", "non-fast-forward", "stale", "cannot lock ref", "failed to update ref", "incorrect old value"} {
		if strings.Contains(lower, phrase) {
			return fail(ReasonMoved, "the server says %q", printable(said))
		}
	}
	return fail(ReasonPushRefused, "the server says %q; check that this credential may push to the branch", printable(said))
}

// ReceivePack implements transport.ReceivePackSession.
func (s *sshSession) ReceivePack(_ context.Context, req *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error) {
	if err := req.Encode(s.in); err != nil {
		return nil, err
	}
	if err := s.in.Close(); err != nil {
		return nil, err
	}
	report := packp.NewReportStatus()
	if err := report.Decode(io.LimitReader(s.out, maxAdvertisement)); err != nil {
		return nil, fmt.Errorf("read the server's report: %w", err)
	}
	err := report.Error()
	return report, err
}

var _ transport.ReceivePackSession = (*sshSession)(nil)
