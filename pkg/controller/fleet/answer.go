package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/desired/edit"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func summaries(r edit.Result) []string {
	var out []string
	for _, e := range r.Edits {
		out = append(out, e.Summary)
	}
	return out
}

// message is that of the commit: what changes, and why.
func (c command) message(r edit.Result) string {
	text := strings.Join(summaries(r), "; ")
	if why := strings.TrimSpace(c.why); why != "" {
		text += "\n\n" + why
	}
	return text
}

// done is the answer for a commit that is the head now.
func (s *Service) done(ctx context.Context, made repo.Commit, summary []string) (*ktrdrv1.ChangeResponse, error) {
	access.Note(ctx, "", "commit "+made.ID)
	before := ""
	if len(made.Parents) > 0 {
		before = made.Parents[0]
	}
	answer, err := s.answer(ctx, before, made.ID, summary)
	if err != nil {
		return nil, fmt.Errorf("commit %s is accepted; tell what it changes: %w", made.ID, err)
	}
	answer.Warnings = problemsToProto(s.cfg.Gate.found(made.ID).warnings)
	return answer, nil
}

// answer compares two commits.
func (s *Service) answer(ctx context.Context, before, after string, summary []string) (*ktrdrv1.ChangeResponse, error) {
	diff, err := s.cfg.Repo.Diff(ctx, before, after)
	if err != nil {
		return nil, err
	}
	nodes, err := s.touched(ctx, before, after)
	if err != nil {
		return nil, err
	}
	return &ktrdrv1.ChangeResponse{Revision: after, Summary: summary, Diff: strings.ToValidUTF8(diff.Text, "\ufffd"), Nodes: nodes}, nil
}

// touched are the nodes whose slice differs.
func (s *Service) touched(ctx context.Context, before, after string) ([]string, error) {
	tree, err := s.cfg.Shelf.Tree(ctx, after)
	if err != nil {
		return nil, err
	}
	return s.touchedBy(ctx, before, tree)
}

// touchedBy is touched for a tree that need not be a commit.
func (s *Service) touchedBy(ctx context.Context, before string, after *slicing.Tree) ([]string, error) {
	var old map[string]string
	if before != "" {
		tree, err := s.cfg.Shelf.Tree(ctx, before)
		if err != nil {
			return nil, err
		}
		if old, err = tree.Digests(ctx); err != nil {
			return nil, err
		}
	}
	now, err := after.Digests(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(now)), func(node string) bool { return old[node] == now[node] }), nil
}

func short(revision string) string { return revision[:min(len(revision), 12)] }
