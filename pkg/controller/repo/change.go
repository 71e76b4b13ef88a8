package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/desired/edit"
	"ktrdr.io/fleet/pkg/source"
)

// Change is a commit that a command asks for.
type Change struct {
	Who Who
	// From is the address of the operator; may be empty.
	From string
	// Edit makes the edits and the commit message for a head. It is called again when
	// somebody else moves the head first. No edits mean that all is as wanted.
	Edit func(ctx context.Context, head source.Tree) (edits []edit.Edit, message string, err error)
	// Why is what the operator says about a rollback, for the commit message; may be empty.
	Why string
	// Progress gets what the gate says; nil discards.
	Progress func(line string)
}

// maxTries bounds how often a change is done again because the head has moved.
const maxTries = 5

// Change commits edits on top of the head, passes the gate and moves the head. It returns the
// new head, or the old one when there was nothing to change. The error is what Edit, the gate
// or the store said; after ErrHeadMoved others were faster several times.
func (h *Hosted) Change(ctx context.Context, c Change) (Commit, error) {
	return h.change(ctx, c, func(ctx context.Context, head Commit) (string, error) {
		tree, err := h.Tree(ctx, head.ID)
		if err != nil {
			return "", err
		}
		edits, message, err := c.Edit(ctx, tree)
		if err != nil || len(edits) == 0 {
			return "", err
		}
		return h.commitEdits(ctx, head.ID, edits, commitHeader{c.Who, message, time.Now()})
	})
}

// Rollback makes a new commit on top of the head with the files of an earlier revision. It
// passes the gate as any change does. Edit of c is not used.
func (h *Hosted) Rollback(ctx context.Context, c Change, rev string) (Commit, error) {
	return h.change(ctx, c, func(ctx context.Context, head Commit) (string, error) { return h.rollback(ctx, head, rev, c) })
}

// rollback writes the commit. "" means that head has these files already.
func (o *objects) rollback(ctx context.Context, head Commit, rev string, c Change) (string, error) {
	to, err := o.resolve(ctx, head.ID, rev)
	if err != nil {
		return "", err
	}
	tree, err := o.line(ctx, "rev-parse", "--verify", to.ID+"^{tree}")
	if err != nil {
		return "", err
	}
	now, err := o.line(ctx, "rev-parse", "--verify", head.ID+"^{tree}")
	if err != nil || now == tree {
		return "", err
	}
	message := fmt.Sprintf("Roll back to %.10s: %s\n\nThe files are those of commit %s of %s.", to.ID, to.Subject(), to.ID, to.Time.Format(time.RFC3339))
	if why := strings.TrimSpace(c.Why); why != "" {
		message += "\n\n" + why
	}
	return o.commitTree(ctx, tree, head.ID, commitHeader{c.Who, message, time.Now()})
}

// change makes a commit with make and moves the head to it. make returns "" for nothing to do.
func (h *Hosted) change(ctx context.Context, c Change, makeCommit func(ctx context.Context, head Commit) (string, error)) (Commit, error) {
	if err := h.take(ctx); err != nil {
		return Commit{}, fmt.Errorf("change desired state: %w", err)
	}
	defer h.release()
	if err := h.settle(ctx); err != nil {
		return Commit{}, fmt.Errorf("change desired state: %w", err)
	}
	var err error
	for range maxTries {
		var head, made Commit
		if head, err = h.Head(ctx); err != nil {
			return Commit{}, err
		}
		var id string
		if id, err = makeCommit(ctx, head); err != nil {
			return Commit{}, err
		}
		if id == "" {
			return head, nil
		}
		if made, err = h.propose(ctx, c, head.ID, id); !errors.Is(err, ErrHeadMoved) {
			return made, err
		}
	}
	return Commit{}, err
}

// propose passes a commit of ours through the gate.
func (h *Hosted) propose(ctx context.Context, c Change, old, id string) (Commit, error) {
	progress := c.Progress
	if progress == nil {
		progress = func(string) {}
	}
	push := Push{Old: old, New: id, Who: c.Who, From: c.From}
	if err := h.check(ctx, push, progress, h.dir); err != nil {
		return Commit{}, err
	}
	if err := h.accept(ctx, push); err != nil {
		return Commit{}, err
	}
	h.maintain(ctx)
	return h.show(ctx, id)
}

// accept moves the head and then the branch. The objects are on disk, the turn is held. The
// order is what a crash needs: the head counts, and the branch can be brought after it. Once
// begun it does not end with the caller.
func (h *Hosted) accept(ctx context.Context, push Push) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.Limits.GitTimeout)
	defer cancel()
	if err := h.advance(ctx, push, h.key); err != nil {
		return err
	}
	if err := h.setBranch(ctx, h.cfg.Branch, push.New, ""); err != nil {
		h.cfg.Logger.Error("the head has moved, and the branch could not follow: the next change or start brings it", "revision", push.New, "err", err)
	}
	return nil
}
