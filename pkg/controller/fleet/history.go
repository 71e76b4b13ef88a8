package fleet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	maxCommits     = 500
	defaultCommits = 50
)

// History lists commits and what became of them, the newest first.
func (s *Service) History(ctx context.Context, r *ktrdrv1.HistoryRequest) (*ktrdrv1.HistoryResponse, error) {
	limit := int(r.GetLimit())
	if limit <= 0 {
		limit = defaultCommits
	}
	limit = min(limit, maxCommits)
	path, err := s.pathOf(ctx, r.GetPath())
	if err != nil {
		return nil, s.failed(ctx, "read history", err)
	}
	commits, err := s.cfg.Repo.History(ctx, repo.HistoryQuery{Path: path, Limit: limit + 1, Before: r.GetBefore()})
	if err != nil {
		return nil, s.failed(ctx, "read history", err)
	}
	out := &ktrdrv1.HistoryResponse{More: len(commits) > limit}
	for _, c := range commits[:min(len(commits), limit)] {
		out.Commits = append(out.Commits, s.commitToProto(c))
	}
	return out, nil
}

func (s *Service) commitToProto(c repo.Commit) *ktrdrv1.Commit {
	out := &ktrdrv1.Commit{
		Revision: c.ID, Subject: wire.Text(cut(c.Subject(), 300)), Author: wire.Text(fmt.Sprintf("%s <%s>", c.Author.Name, c.Author.Email)), Time: wire.Timestamp(c.Time),
	}
	head := s.cfg.Ledger.Head()
	of, ok := s.cfg.Ledger.Outcome(c.ID)
	if head.Revision == c.ID {
		out.By, out.Accepted = head.By, wire.Timestamp(head.AcceptedAt)
	} else if ok {
		out.By, out.Accepted = of.Record.By, wire.Timestamp(of.Record.Accepted)
	}
	out.Outcome, out.Message = outcome(of, head.Revision == c.ID)
	return out
}

// pathOf is where a stack or a node is in the repository.
func (s *Service) pathOf(ctx context.Context, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	head, err := s.cfg.Repo.Head(ctx)
	if err != nil {
		return "", err
	}
	tree, err := s.cfg.Repo.Tree(ctx, head.ID)
	if err != nil {
		return "", err
	}
	for _, path := range []string{filepath.Join("stacks", name), filepath.Join("nodes", name+".yaml"), name} {
		if !filepath.IsLocal(path) || strings.ContainsAny(path, "\x00\n") {
			break
		}
		if _, err := os.Lstat(filepath.Join(tree.Dir, path)); err == nil {
			return path, nil
		}
	}
	return "", status.Errorf(codes.NotFound, "the head has no stack, node or file %.80q", name)
}

// Diff compares two revisions as a unified diff.
func (s *Service) Diff(ctx context.Context, r *ktrdrv1.DiffRequest) (*ktrdrv1.DiffResponse, error) {
	from, to, err := s.compared(ctx, r)
	if err != nil {
		return nil, s.failed(ctx, "compare revisions", err)
	}
	diff, err := s.cfg.Repo.Diff(ctx, from, to)
	if err != nil {
		return nil, s.failed(ctx, "compare revisions", err)
	}
	return &ktrdrv1.DiffResponse{Diff: strings.ToValidUTF8(diff.Text, "\ufffd"), Truncated: diff.Truncated}, nil
}

// compared are the two revisions. What the fleet runs now is what was rolled out with success
// last; nothing, before the first time.
func (s *Service) compared(ctx context.Context, r *ktrdrv1.DiffRequest) (from, to string, err error) {
	head, err := s.cfg.Repo.Head(ctx)
	if err != nil {
		return "", "", err
	}
	to = head.ID
	if r.GetTo() != "" {
		commit, err := s.cfg.Repo.Resolve(ctx, r.GetTo())
		if err != nil {
			return "", "", err
		}
		to = commit.ID
	}
	from = r.GetFrom()
	if from == "" {
		if good := s.cfg.Ledger.Succeeded(); len(good) > 0 {
			from = good[0]
		}
		return from, to, nil
	}
	commit, err := s.cfg.Repo.Resolve(ctx, from)
	return commit.ID, to, err
}
