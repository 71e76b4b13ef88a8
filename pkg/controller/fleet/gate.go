package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/source"
)

// Gate is what every change of the head passes: pushes, and the commits of commands. It is
// repo.Gate.
type Gate struct {
	Store  *store.Store
	Ledger *Ledger
	// Shelf is given the slices that a check makes; nil for none.
	Shelf *slicing.Shelf
	// Changed is told what became of a change: accepted, refused or failed. nil for nobody.
	Changed func(result string)
	Log     *slog.Logger

	mu      sync.Mutex
	checked map[string]checked
}

// checked is what Check found out about a commit.
type checked struct {
	revision source.Revision
	warnings []desired.Problem
	at       time.Time
}

// refusal is a repo.Refusal whose problems can be told one by one.
type refusal struct {
	*repo.Refusal
	problems []desired.Problem
}

// Unwrap gives what a push is answered with.
func (r *refusal) Unwrap() error { return r.Refusal }

// maxChecked bounds what is remembered of commits that passed.
const maxChecked = 16

// Check validates a commit for all nodes, with admission, and makes their slices.
func (g *Gate) Check(ctx context.Context, push repo.Push, progress func(string)) error {
	warnings, err := check(ctx, push.Tree, g.Shelf)
	for _, w := range warnings {
		progress("warning: " + oneLine(w.String()))
	}
	if err == nil {
		err = checkEarlier(ctx, push, progress)
	}
	if err != nil {
		g.count(err)
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.checked == nil || len(g.checked) >= maxChecked {
		g.checked = map[string]checked{}
	}
	g.checked[push.New] = checked{revision: push.Tree.Revision, warnings: warnings, at: time.Now()}
	return nil
}

// count tells what became of a change that was not accepted.
func (g *Gate) count(err error) {
	if g.Changed == nil {
		return
	}
	result := "failed"
	if _, ok := errors.AsType[*refusal](err); ok {
		result = "refused"
	}
	g.Changed(result)
}

// check returns warnings, and *refusal when the tree can't be accepted. shelf may be nil.
func check(ctx context.Context, tree source.Tree, shelf *slicing.Shelf) ([]desired.Problem, error) {
	warnings, err := desired.Validate(ctx, tree.Dir)
	if err == nil {
		err = desired.CheckFiles(ctx, tree.Dir)
	}
	if err == nil {
		err = sliceAll(ctx, tree, shelf)
	}
	if problems, ok := errors.AsType[*desired.Error](err); ok {
		return warnings, refuse(problems.Problems)
	}
	return warnings, err
}

// sliceAll makes every node's slice: what is too large shows here, not on a node.
func sliceAll(ctx context.Context, tree source.Tree, shelf *slicing.Shelf) error {
	opened, err := slicing.Open(tree)
	if err != nil {
		return err
	}
	if _, err = opened.Digests(ctx); err == nil && shelf != nil {
		err = shelf.Prepare(ctx, opened)
	}
	return errors.Join(err, opened.Close())
}

func refuse(problems []desired.Problem) *refusal {
	const most = 200
	r := &refusal{Refusal: &repo.Refusal{}, problems: problems[:min(len(problems), most)]}
	for _, p := range r.problems {
		r.Lines = append(r.Lines, oneLine(p.String()))
	}
	if more := len(problems) - most; more > 0 {
		r.Lines = append(r.Lines, fmt.Sprintf("… and %d more", more))
	}
	return r
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// found is what Check found out about a commit.
func (g *Gate) found(revision string) checked {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.checked[revision]
}

// Accepted moves the head. The leader's driver starts the rollout as soon as it sees it.
func (g *Gate) Accepted(ctx context.Context, push repo.Push) error {
	known := g.found(push.New).revision
	head, err := g.Store.AdvanceHead(ctx, push.Old, store.Head{
		Revision: push.New, Parent: push.Old, Author: known.Author, Subject: known.Subject, AcceptedAt: time.Now().UTC(), By: push.Who.Name,
	})
	switch {
	case errors.Is(err, store.ErrConflict):
		return fmt.Errorf("%w: %w", repo.ErrHeadMoved, err)
	case err != nil:
		return err
	}
	g.Ledger.setHead(head)
	if g.Changed != nil {
		g.Changed("accepted")
	}
	g.Log.InfoContext(ctx, "head accepted", "revision", push.New, "by", push.Who.Name, "subject", known.Subject)
	return nil
}

// Watch tells how the rollout of a revision goes, a line for each thing that changes, until
// it has ended.
func (g *Gate) Watch(ctx context.Context, rev string, progress func(string)) error {
	last := map[string]string{}
	return g.Ledger.Follow(ctx, rev, func(r *rollout.Record) error {
		for _, line := range progressLines(r) {
			if last[line.about] != line.text {
				last[line.about] = line.text
				progress(line.text)
			}
		}
		return nil
	})
}

// progressLine is what is new about a node, a wave or the rollout.
type progressLine struct{ about, text string }

func progressLines(r *rollout.Record) []progressLine {
	var out []progressLine
	for i := range r.Waves {
		w := &r.Waves[i]
		if w.Phase == rollout.Waiting {
			continue
		}
		for _, p := range w.Nodes {
			if p.Phase == rollout.Waiting && p.Reason == "" {
				continue
			}
			text := fmt.Sprintf("wave %s: %s %s", w.Name, p.Node, p.Phase)
			if p.Stacks > 0 {
				text += fmt.Sprintf(" %d/%d", p.Converged, p.Stacks)
			}
			if p.Message != "" {
				text += ": " + p.Message
			}
			out = append(out, progressLine{"node " + p.Node, oneLine(text)})
		}
		if w.Phase == rollout.Skipped {
			out = append(out, progressLine{"wave " + w.Name, "wave " + w.Name + ": skipped"})
		}
	}
	if r.Phase != rollout.Running {
		text := "rollout of " + r.Revision[:min(12, len(r.Revision))] + ": " + string(r.Phase)
		if details := slices.DeleteFunc([]string{string(r.Reason), r.Message}, func(s string) bool { return s == "" }); len(details) > 0 {
			text += ": " + strings.Join(details, ": ")
		}
		out = append(out, progressLine{"", oneLine(text)})
	}
	return out
}
