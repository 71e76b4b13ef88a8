package desired

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"ktrdr.io/fleet/pkg/desired/compose"
	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// Problem is one defect of the repository, or a warning, with its place.
type Problem = compose.Problem

// Error holds all problems, sorted by place.
type Error = compose.Error

// report collects problems and warnings. It belongs to one goroutine.
type report struct {
	mu                 sync.Mutex // nodes are built beside each other
	problems, warnings []Problem
}

func (r *report) add(problems ...Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, problems...)
}

func (r *report) warn(warnings ...Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warnings = append(r.warnings, warnings...)
}

// addError takes over the problems of err; fallback says where any other error belongs.
func (r *report) addError(err error, fallback Problem) {
	if known, ok := errors.AsType[*Error](err); ok {
		r.add(known.Problems...)
		return
	}
	fallback.Message = err.Error()
	r.add(fallback)
}

// result sorts both lists and makes an error of the problems. A cancelled ctx wins: what
// was found by then is not all.
func (r *report) result(ctx context.Context) ([]Problem, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("load desired state: %w", err)
	}
	warnings := sorted(r.warnings)
	if len(r.problems) == 0 {
		return warnings, nil
	}
	return warnings, &Error{Problems: sorted(r.problems)}
}

func sorted(problems []Problem) []Problem {
	slices.SortFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(problems)
}

// asError turns the problems of yamlpos into ours; any other error stays as it is.
func asError(err error) error {
	placed, ok := errors.AsType[*yamlpos.Error](err)
	if !ok {
		return err
	}
	out := &Error{}
	for _, p := range placed.Problems {
		out.Problems = append(out.Problems, Problem(p))
	}
	return out
}
