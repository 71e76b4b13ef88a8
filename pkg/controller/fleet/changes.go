package fleet

import (
	"context"
	"fmt"
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

func scaling(r *ktrdrv1.ScaleRequest) (command, error) {
	scales, err := scalesOf(r)
	return command{why: r.GetWhy(), dryRun: r.GetDryRun(), edit: func(root string) (edit.Result, error) {
		return edit.SetScale(root, scales...)
	}}, err
}

// scalesOf are the wishes of a request in one of its two forms.
func scalesOf(r *ktrdrv1.ScaleRequest) ([]edit.Scale, error) {
	sizes := r.GetSizes()
	switch {
	case len(sizes) == 0:
		sizes = []*ktrdrv1.PoolSize{{Pool: r.GetPool(), Node: r.GetNode(), Count: r.GetCount()}}
	case len(sizes) > maxSizes:
		return nil, status.Errorf(codes.InvalidArgument, "scale: more than %d sizes in one change", maxSizes)
	case r.GetPool() != "" || r.GetNode() != "" || r.GetCount() != 0:
		return nil, status.Error(codes.InvalidArgument, "scale: write sizes, or pool, node and count")
	}
	var out []edit.Scale
	for _, size := range sizes {
		s := edit.Scale{Node: size.GetNode(), Pool: size.GetPool(), Size: int(size.GetCount())}
		if s.Size < 0 {
			return nil, status.Errorf(codes.InvalidArgument, "scale pool %.80q: %d is negative", s.Pool, s.Size)
		}
		if slices.ContainsFunc(out, func(o edit.Scale) bool { return o.Node == s.Node && o.Pool == s.Pool }) {
			return nil, status.Errorf(codes.InvalidArgument, "scale pool %.80q of node %.80q: it is there twice", s.Pool, s.Node)
		}
		out = append(out, s)
	}
	return out, nil
}

// maxSizes bounds one change.
const maxSizes = 200

func deploying(r *ktrdrv1.DeployRequest) command {
	return command{why: r.GetWhy(), dryRun: r.GetDryRun(), edit: func(root string) (edit.Result, error) {
		return edit.SetTag(root, edit.Target{Stack: r.GetStack(), Services: r.GetServices(), Nodes: nodeList(r.GetNode()), Along: true}, r.GetTag())
	}}
}

// Scale sets the number of slots of a pool on a node, or of several.
func (s *Service) Scale(ctx context.Context, r *ktrdrv1.ScaleRequest) (*ktrdrv1.ChangeResponse, error) {
	doing := "scale pool " + cut(r.GetPool(), 80) + " of node " + cut(r.GetNode(), 80)
	if sizes := r.GetSizes(); len(sizes) > 0 {
		var words []string
		for _, size := range sizes[:min(len(sizes), maxSizes)] {
			words = append(words, fmt.Sprintf("%.80s=%d on %.80s", size.GetPool(), size.GetCount(), size.GetNode()))
		}
		text := strings.Join(words, ", ")
		access.Note(ctx, text, "")
		doing = "scale " + cut(text, 200)
	}
	c, err := scaling(r)
	if err != nil {
		return nil, err
	}
	return s.change(ctx, doing, c)
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
