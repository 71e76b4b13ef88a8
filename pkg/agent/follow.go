package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/source"
)

// follower turns revisions of the source into desired state. An invalid or unreachable
// source never replaces the last good state.
type follower struct {
	src     source.Source
	poll    time.Duration
	node    string
	log     *slog.Logger
	sync    chan struct{}
	accept  func(ctx context.Context, d *api.Desired, rev source.Revision)
	refused func(rev source.Revision, c *api.Condition)
	// looked is closed after the first look at the source, whatever it gave.
	looked chan struct{}

	// early rings when the source begins to change; nil for one that does not tell.
	early <-chan struct{}
	// ahead is what was read when it did.
	ahead reading

	have  string         // revision that was looked at last, good or bad
	files string         // digest of its files, where the source tells one
	bad   *api.Condition // why have was refused; nil when it is in force
	good  string         // revision that is in force
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) error {
	var prepared errgroup.Group
	prepared.Go(desired.Prepare) // beside the first look at the source
	defer func() { _ = prepared.Wait() }()
	failures, first := 0, true
	for ctx.Err() == nil {
		wait := f.poll
		if err := f.once(ctx); err == nil {
			failures = 0
		} else {
			failures++
			wait = min(f.poll, time.Duration(failures)*time.Second)
		}
		if first {
			close(f.looked)
			first = false
		}
		f.wait(ctx, wait)
	}
	return nil
}

// wait returns at the next poll, change or request, or when ctx ends.
func (f *follower) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-f.early:
			f.readAhead(ctx)
			continue
		case <-ctx.Done():
		case <-timer.C:
		case <-f.sync:
		case <-f.src.Changes():
		}
		return
	}
}

// reading is the result of loading a revision, which depends on nothing but its content.
type reading struct {
	revision string
	desired  *api.Desired
	warnings []desired.Problem
	err      error
}

// readAhead loads what the source has while it still may change, so that nothing is left
// to do once it is quiet. Nothing else comes of it.
func (f *follower) readAhead(ctx context.Context) {
	tree, err := f.src.Fetch(ctx, f.have)
	if err != nil || tree.Revision.ID == f.have {
		return
	}
	if ahead := f.load(ctx, tree); ctx.Err() == nil {
		f.ahead = ahead
	}
}

// load reads a revision, unless that was done ahead.
func (f *follower) load(ctx context.Context, tree source.Tree) reading {
	ahead := f.ahead
	f.ahead = reading{}
	if ahead.revision == tree.Revision.ID {
		return ahead
	}
	r := reading{revision: tree.Revision.ID}
	r.desired, r.warnings, r.err = desired.Load(ctx, desired.Request{Root: tree.Dir, Node: f.node, Revision: r.revision})
	return r
}

// once looks at the source and takes over what is new and valid.
func (f *follower) once(ctx context.Context) error {
	tree, err := f.src.Fetch(ctx, f.have)
	if err != nil {
		if ctx.Err() == nil {
			f.refused(source.Revision{}, sourceCondition(err))
		}
		return err
	}
	if tree.Revision.ID == f.have && tree.Revision.Digest == f.files {
		f.refused(tree.Revision, f.bad)
		return nil
	}
	f.have, f.files, f.bad = tree.Revision.ID, tree.Revision.Digest, nil
	read := f.load(ctx, tree)
	if err := read.err; err != nil {
		f.bad = &api.Condition{
			Type: api.ConditionDegraded, Status: true, Reason: api.ReasonInvalid,
			Message: fmt.Sprintf("revision %s is invalid, the last good state stays in force: %s", short(tree.Revision.ID), firstLines(err, 5)),
		}
		f.refused(tree.Revision, f.bad)
		return nil
	}
	for _, w := range read.warnings {
		f.log.WarnContext(ctx, "desired state", "place", fmt.Sprintf("%s:%d:%d", w.File, w.Line, w.Column), "path", w.Path, "problem", w.Message)
	}
	f.accept(ctx, read.desired, tree.Revision)
	f.good = tree.Revision.ID
	if err := f.src.Prune(f.good); err != nil {
		f.log.WarnContext(ctx, "old trees stay", "err", err)
	}
	return nil
}

// sourceCondition says why the source can't be read.
func sourceCondition(err error) *api.Condition {
	c := &api.Condition{Type: api.ConditionDegraded, Status: true, Reason: api.ReasonSourceFailed, Message: err.Error()}
	if se, ok := errors.AsType[*source.Error](err); ok {
		c.Reason = api.Reason(se.Reason)
	}
	return c
}

func firstLines(err error, n int) string {
	lines := strings.Split(err.Error(), "\n")
	if len(lines) <= n {
		return strings.Join(lines, "; ")
	}
	return strings.Join(lines[:n], "; ") + fmt.Sprintf("; and %d more", len(lines)-n)
}

func short(revision string) string {
	revision = strings.TrimPrefix(revision, "dir-")
	if len(revision) > 12 {
		return revision[:12]
	}
	return revision
}
