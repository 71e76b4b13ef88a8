package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ktrdr.io/fleet/pkg/source"
)

// Change commits edits on top of the remote branch, pushes them and moves the head. When
// somebody else pushes first, Edit is called again on the new commit. What the remote branch
// has must be acceptable first: a change never carries others' refused commits along.
func (f *Followed) Change(ctx context.Context, c Change) (Commit, error) {
	return f.change(ctx, c, func(ctx context.Context, head Commit) (string, error) {
		tree, err := f.Tree(ctx, head.ID)
		if err != nil {
			return "", err
		}
		edits, message, err := c.Edit(ctx, tree)
		if err != nil || len(edits) == 0 {
			return "", err
		}
		return f.commitEdits(ctx, head.ID, edits, commitHeader{c.Who, message, time.Now()})
	})
}

// Rollback pushes a new commit with the files of an earlier revision.
func (f *Followed) Rollback(ctx context.Context, c Change, rev string) (Commit, error) {
	return f.change(ctx, c, func(ctx context.Context, head Commit) (string, error) { return f.rollback(ctx, head, rev, c) })
}

func (f *Followed) change(ctx context.Context, c Change, makeCommit func(ctx context.Context, head Commit) (string, error)) (Commit, error) {
	if f.cfg.Source.Signatures.Required {
		return Commit{}, errors.New("change desired state: commits of this repository must be signed, and the controller has no key: make the change in a clone and push it")
	}
	if err := f.take(ctx); err != nil {
		return Commit{}, fmt.Errorf("change desired state: %w", err)
	}
	defer f.release()
	var err error
	for range maxTries {
		if _, err = f.sync(ctx); errors.Is(err, ErrHeadMoved) {
			continue // by another controller
		} else if err != nil {
			return Commit{}, err
		}
		var head, made Commit
		if head, err = f.Head(ctx); err != nil {
			return Commit{}, err
		}
		var id string
		if id, err = makeCommit(ctx, head); err != nil {
			return Commit{}, err
		}
		if id == "" {
			return head, nil
		}
		made, err = f.propose(ctx, c, head.ID, id)
		if !errors.Is(err, ErrHeadMoved) && source.ReasonOf(err) != source.ReasonMoved {
			return made, err
		}
	}
	if !errors.Is(err, ErrHeadMoved) { // the remote's word for it
		err = fmt.Errorf("%w: %w", ErrHeadMoved, err)
	}
	return Commit{}, err
}

// propose passes a commit of ours through the gate, pushes it and moves the head. A crash
// between the last two is mended by the next Sync, which finds the commit on the branch.
func (f *Followed) propose(ctx context.Context, c Change, old, id string) (Commit, error) {
	progress := c.Progress
	if progress == nil {
		progress = func(string) {}
	}
	push := Push{Old: old, New: id, Who: c.Who, From: c.From}
	if err := f.check(ctx, push, progress, f.gitDirs...); err != nil {
		return Commit{}, err
	}
	if err := f.remote.Push(ctx, source.Push{Old: old, New: id, Pack: f.pack(ctx, old, id)}); err != nil {
		return Commit{}, err
	}
	// From here on the change has happened, whether the caller waits or not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.limits.GitTimeout)
	defer cancel()
	if err := f.advance(ctx, push, f.key); err != nil && !f.overtaken(ctx, id, err) {
		return Commit{}, err
	}
	return f.show(ctx, id)
}

// overtaken tells whether a commit that was pushed is below the head already: another controller
// found it on the branch, accepted it and went on. Making the change again would undo what came
// after it.
func (f *Followed) overtaken(ctx context.Context, id string, why error) bool {
	if !errors.Is(why, ErrHeadMoved) {
		return false
	}
	head, err := f.key(ctx)
	if err != nil || f.ensure(ctx, head) != nil {
		return false
	}
	below, err := f.isAncestor(ctx, id, head)
	return err == nil && below
}
