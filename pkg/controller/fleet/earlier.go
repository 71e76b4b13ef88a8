package fleet

import (
	"context"
	"errors"
	"fmt"

	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/desired"
)

// checkEarlier refuses secrets in what earlier commits of a push brought: deleted in the last
// one they would stay in the history. What was not looked at is told.
func checkEarlier(ctx context.Context, push repo.Push, progress func(string)) (err error) {
	if push.Earlier == nil {
		return nil
	}
	scan, err := desired.OpenFiles(push.Tree.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scan.Close()) }()
	var found earlierProblems
	left, err := push.Earlier(ctx, func(f repo.EarlierFile) error {
		for _, p := range scan.File(f.Name, f.Data) {
			found.add(p, f.Commit)
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("look for secrets in earlier commits: %w", err)
	}
	if left != "" {
		progress("warning: not all of the history was looked at for secrets: not " + oneLine(left))
	}
	if problems := found.problems(); len(problems) > 0 {
		return refuse(problems)
	}
	return nil
}

// maxEarlierProblems bounds what is remembered; a refusal tells fewer.
const maxEarlierProblems = 1000

// earlierProblems joins what several versions of a file have in common. Commits come from the
// newest to the oldest.
type earlierProblems struct {
	order []string
	known map[string]*earlierProblem
}

type earlierProblem struct {
	desired.Problem
	commit  string
	commits map[string]bool
}

func (e *earlierProblems) add(p desired.Problem, commit string) {
	key := p.File + "\x00" + p.Path + "\x00" + p.Message
	if e.known == nil {
		e.known = map[string]*earlierProblem{}
	}
	known := e.known[key]
	if known == nil && len(e.order) == maxEarlierProblems {
		return
	}
	if known == nil {
		known = &earlierProblem{commits: map[string]bool{}}
		e.known[key], e.order = known, append(e.order, key)
	}
	if known.commit != commit {
		known.Problem, known.commit = p, commit
	}
	known.commits[commit] = true
}

func (e *earlierProblems) problems() []desired.Problem {
	var out []desired.Problem
	for _, key := range e.order {
		known := e.known[key]
		where := fmt.Sprintf("commit %.10s", known.commit)
		if more := len(known.commits) - 1; more > 0 {
			where += fmt.Sprintf(" (and %d later)", more)
		}
		known.Message = where + " " + known.Message
		out = append(out, known.Problem)
	}
	return out
}
