package repo

import (
	"context"
	"log/slog"
	"time"

	"ktrdr.io/fleet/pkg/source"
)

// proposals pass the gate one at a time.
type proposals struct {
	gate Gate
	log  *slog.Logger
	// candidates are checkouts of what has not passed the gate.
	candidates *source.Commits
	// turn is held by who is about to move the head.
	turn chan struct{}
}

// check checks a commit out and asks the gate. gitDirs are where its objects are.
func (p *proposals) check(ctx context.Context, push Push, progress func(string), gitDirs ...string) error {
	tree, err := p.candidates.Tree(ctx, push.New, gitDirs...)
	if err != nil {
		return err
	}
	defer func() {
		if err := p.candidates.Remove(push.New); err != nil {
			p.log.Warn("remove checkout of a candidate", "revision", push.New, "err", err)
		}
	}()
	push.Tree = tree
	return p.gate.Check(ctx, push, progress)
}

// readTimeout bounds the second look at the head after its move has failed.
const readTimeout = 10 * time.Second

// advance moves the head by the gate.
func (p *proposals) advance(ctx context.Context, push Push, key func(context.Context) (string, error)) error {
	push.Tree, push.Earlier = source.Tree{}, nil
	err := p.gate.Accepted(ctx, push)
	if err == nil {
		return nil
	}
	// The answer of the store may have got lost on its way.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	if head, readErr := key(ctx); readErr != nil || head != push.New {
		return err
	}
	return nil
}

// take waits for the turn to move the head.
func (p *proposals) take(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *proposals) release() { <-p.turn }
