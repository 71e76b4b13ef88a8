package repo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxHistory bounds one answer of History.
const maxHistory = 1000

// HistoryQuery says which commits are wanted.
type HistoryQuery struct {
	// Path leaves only commits that changed something at or below it. "" means all.
	Path string
	// Limit is the most commits that are returned. Default 50, at most 1000.
	Limit int
	// Before is the full hash of a commit: only those before it are returned. "" starts at
	// the head. It is how the next page is asked for.
	Before string
}

// history returns commits from head back, the newest first.
func (o *objects) history(ctx context.Context, head string, q HistoryQuery) ([]Commit, error) {
	from := []string{head}
	if q.Before != "" {
		at, err := o.resolve(ctx, head, q.Before)
		if err != nil {
			return nil, fmt.Errorf("read history: %w", err)
		}
		if from = at.Parents; len(from) == 0 {
			return nil, nil
		}
	}
	if q.Limit <= 0 {
		q.Limit = 50
	}
	args := append([]string{"-n", strconv.Itoa(min(q.Limit, maxHistory)), "--end-of-options"}, from...)
	args = append(args, "--")
	if q.Path != "" {
		// Literally: a path is no pattern.
		args = append(args, ":(top,literal)"+strings.Trim(q.Path, "/"))
	}
	commits, err := o.log(ctx, args...)
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	return commits, nil
}

// resolve finds the commit that a hash or the beginning of one names, if it is head or before
// it: what a refused push left behind is no revision.
func (o *objects) resolve(ctx context.Context, head, rev string) (Commit, error) {
	if !someHash.MatchString(rev) {
		return Commit{}, fmt.Errorf("%q: %w", oneLine(rev), ErrUnknownRevision)
	}
	id, err := o.line(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", rev+"^{commit}")
	id = strings.TrimPrefix(id, "--end-of-options\n")
	if err != nil || !fullHash.MatchString(id) {
		if exitCode(err) < 0 && err != nil {
			return Commit{}, err
		}
		return Commit{}, fmt.Errorf("%s: %w", rev, ErrUnknownRevision)
	}
	in, err := o.isAncestor(ctx, id, head)
	if err != nil {
		return Commit{}, err
	}
	if !in {
		return Commit{}, fmt.Errorf("%s: %w", rev, ErrUnknownRevision)
	}
	return o.show(ctx, id)
}

// Diff is a unified diff.
type Diff struct {
	Text string
	// Truncated says that Text ends at the limit.
	Truncated bool
}

// diff compares two commits; a "" compares with nothing.
func (o *objects) diff(ctx context.Context, a, b string) (Diff, error) {
	if _, err := o.show(ctx, b); err != nil {
		return Diff{}, err
	}
	if a == "" {
		a = emptyTree
	} else if _, err := o.show(ctx, a); err != nil {
		return Diff{}, err
	}
	return o.compare(ctx, a, b, nil)
}

// compare compares two commits or trees.
func (o *objects) compare(ctx context.Context, a, b string, env []string) (Diff, error) {
	out, err := o.do(ctx, run{
		args: []string{
			"diff", "--no-color", "--no-ext-diff", "--no-textconv", "--find-renames", "--src-prefix=a/", "--dst-prefix=b/",
			"--end-of-options", a, b, "--",
		},
		env: env, max: o.limits.MaxDiffBytes,
	})
	if errors.Is(err, errTooMuch) {
		return Diff{Text: string(out), Truncated: true}, nil
	}
	if err != nil {
		return Diff{}, fmt.Errorf("compare revisions: %w", err)
	}
	return Diff{Text: string(out)}, nil
}
