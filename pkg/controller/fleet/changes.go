package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/desired/edit"
	"ktrdr.io/fleet/pkg/source"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// maxWhy bounds what an operator says about a change, in bytes.
const maxWhy = 2 << 10

// editing makes the edits of a command on a tree.
type editing func(root string) (edit.Result, error)

// command is a change that edits files.
type command struct {
	edit   editing
	why    string
	dryRun bool
}

func scaling(r *ktrdrv1.ScaleRequest) command {
	return command{why: r.GetWhy(), dryRun: r.GetDryRun(), edit: func(root string) (edit.Result, error) {
		return edit.SetScale(root, edit.Scale{Node: r.GetNode(), Pool: r.GetPool(), Size: int(r.GetCount())})
	}}
}

func deploying(r *ktrdrv1.DeployRequest) command {
	return command{why: r.GetWhy(), dryRun: r.GetDryRun(), edit: func(root string) (edit.Result, error) {
		return edit.SetTag(root, edit.Target{Stack: r.GetStack(), Services: r.GetServices(), Node: r.GetNode(), Along: true}, r.GetTag())
	}}
}

// Scale sets the number of slots of a pool on a node.
func (s *Service) Scale(ctx context.Context, r *ktrdrv1.ScaleRequest) (*ktrdrv1.ChangeResponse, error) {
	if r.GetCount() < 0 {
		return nil, status.Errorf(codes.InvalidArgument, "scale pool %.80q: %d is negative", r.GetPool(), r.GetCount())
	}
	return s.change(ctx, "scale pool "+cut(r.GetPool(), 80)+" of node "+cut(r.GetNode(), 80), scaling(r))
}

// Deploy sets the image tag of a stack's services; without a tag it rolls the head out again.
func (s *Service) Deploy(ctx context.Context, r *ktrdrv1.DeployRequest) (*ktrdrv1.ChangeResponse, error) {
	doing := "deploy stack " + cut(r.GetStack(), 80)
	if r.GetTag() == "" {
		answer, err := s.again(ctx, r)
		if err != nil {
			return nil, s.failed(ctx, doing, err)
		}
		return answer, nil
	}
	return s.change(ctx, doing, deploying(r))
}

// Rollback makes a new commit with the content of an earlier one.
func (s *Service) Rollback(ctx context.Context, r *ktrdrv1.RollbackRequest) (*ktrdrv1.ChangeResponse, error) {
	answer, err := s.rollback(ctx, r)
	if err != nil {
		return nil, s.failed(ctx, "roll back", err)
	}
	return answer, nil
}

func (s *Service) rollback(ctx context.Context, r *ktrdrv1.RollbackRequest) (*ktrdrv1.ChangeResponse, error) {
	if len(r.GetWhy()) > maxWhy {
		return nil, status.Errorf(codes.InvalidArgument, "more than %d bytes of explanation", maxWhy)
	}
	head, err := s.cfg.Repo.Head(ctx)
	if err != nil {
		return nil, err
	}
	to, err := s.rollbackTarget(ctx, r.GetRevision(), head.ID)
	if err != nil {
		return nil, err
	}
	summary := []string{fmt.Sprintf("back to %s: %s", short(to.ID), cut(to.Subject(), 200))}
	access.Note(ctx, "revision="+to.ID, "")
	if r.GetDryRun() {
		tree, err := s.cfg.Repo.Tree(ctx, to.ID)
		if err != nil {
			return nil, err
		}
		warnings, err := check(ctx, tree, nil)
		if err != nil {
			return nil, err
		}
		answer, err := s.answer(ctx, head.ID, to.ID, summary)
		if err != nil {
			return nil, err
		}
		answer.Revision, answer.Warnings = "", problemsToProto(warnings)
		return answer, nil
	}
	author, from := who(ctx)
	made, err := s.cfg.Repo.Rollback(ctx, repo.Change{Who: author, From: from, Why: r.GetWhy()}, to.ID)
	if err != nil {
		return nil, err
	}
	if made.ID == head.ID {
		return &ktrdrv1.ChangeResponse{Summary: []string{"the head has the content of " + short(to.ID) + " already"}}, nil
	}
	return s.done(ctx, made, summary)
}

func (s *Service) rollbackTarget(ctx context.Context, revision, head string) (repo.Commit, error) {
	if revision != "" {
		return s.cfg.Repo.Resolve(ctx, revision)
	}
	for _, good := range s.cfg.Ledger.Succeeded() {
		if good != head {
			return s.cfg.Repo.Resolve(ctx, good)
		}
	}
	return repo.Commit{}, status.Error(codes.FailedPrecondition, "no earlier revision was rolled out with success: name one, see ktrdrctl history")
}

func (s *Service) change(ctx context.Context, doing string, c command) (*ktrdrv1.ChangeResponse, error) {
	if len(c.why) > maxWhy {
		return nil, status.Errorf(codes.InvalidArgument, "%s: more than %d bytes of explanation", doing, maxWhy)
	}
	run := s.commit
	if c.dryRun {
		run = s.rehearse
	}
	answer, err := run(ctx, c)
	if err != nil {
		return nil, s.failed(ctx, doing, err)
	}
	return answer, nil
}

// commit makes the change. The edit may run several times: the last one counts.
func (s *Service) commit(ctx context.Context, c command) (*ktrdrv1.ChangeResponse, error) {
	author, from := who(ctx)
	var last edit.Result
	made, err := s.cfg.Repo.Change(ctx, repo.Change{Who: author, From: from, Edit: func(_ context.Context, head source.Tree) ([]edit.Edit, string, error) {
		var err error
		if last, err = c.edit(head.Dir); err != nil {
			return nil, "", err
		}
		return last.Edits, c.message(last), nil
	}})
	if err != nil {
		return nil, err
	}
	if len(last.Edits) == 0 {
		return &ktrdrv1.ChangeResponse{Summary: []string{"everything is as asked already"}, Warnings: problemsToProto(last.Notes)}, nil
	}
	answer, err := s.done(ctx, made, summaries(last))
	if err == nil {
		answer.Warnings = append(answer.Warnings, problemsToProto(last.Notes)...)
	}
	return answer, err
}

// candidate is a commit that is not the head: a change that is only looked at.
type candidate struct {
	base   string
	id     string // empty when nothing changes
	result edit.Result
}

func (s *Service) candidate(ctx context.Context, c command) (*candidate, error) {
	head, err := s.cfg.Repo.Head(ctx)
	if err != nil {
		return nil, err
	}
	tree, err := s.cfg.Repo.Tree(ctx, head.ID)
	if err != nil {
		return nil, err
	}
	result, err := c.edit(tree.Dir)
	if err != nil {
		return nil, err
	}
	out := &candidate{base: head.ID, result: result}
	if len(result.Edits) == 0 {
		return out, nil
	}
	author, _ := who(ctx)
	out.id, err = s.cfg.Repo.Commit(ctx, head.ID, result.Edits, author, c.message(result))
	return out, err
}

// rehearse says what the change would make.
func (s *Service) rehearse(ctx context.Context, c command) (*ktrdrv1.ChangeResponse, error) {
	made, err := s.candidate(ctx, c)
	if err != nil {
		return nil, err
	}
	notes := problemsToProto(made.result.Notes)
	if made.id == "" {
		return &ktrdrv1.ChangeResponse{Summary: []string{"everything is as asked already"}, Warnings: notes}, nil
	}
	defer s.hold(made.id)()
	tree, err := s.cfg.Repo.Tree(ctx, made.id)
	if err != nil {
		return nil, err
	}
	warnings, err := check(ctx, tree, nil)
	if err != nil {
		return nil, err
	}
	answer, err := s.answer(ctx, made.base, made.id, summaries(made.result))
	if err != nil {
		return nil, err
	}
	answer.Revision, answer.Warnings = "", append(problemsToProto(warnings), notes...)
	return answer, nil
}

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
	tree, err := s.cfg.Shelf.Tree(ctx, after)
	if err != nil {
		return nil, err
	}
	now, err := tree.Digests(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(now)), func(node string) bool { return old[node] == now[node] }), nil
}

func short(revision string) string { return revision[:min(len(revision), 12)] }
