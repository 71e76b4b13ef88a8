package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"ktrdr.io/fleet/pkg/desired"
)

// maxProblems bounds how many problems a refusal lists.
const maxProblems = 200

// Refusal is why the gate refuses a push: its lines are shown to the pusher one by one.
type Refusal struct{ Lines []string }

// Error returns the lines, one below the other.
func (r *Refusal) Error() string { return strings.Join(r.Lines, "\n") }

// Validate checks the desired state in a folder for all nodes. Warnings come as lines. The
// error is *Refusal with a line "file:line:column: field: reason" for each problem, or says
// that the folder can't be read.
func Validate(ctx context.Context, dir string) (warnings []string, err error) {
	found, err := desired.Validate(ctx, dir)
	for _, w := range found {
		warnings = append(warnings, "warning: "+oneLine(w.String()))
	}
	problems, ok := errors.AsType[*desired.Error](err)
	if !ok {
		return warnings, err
	}
	refusal := &Refusal{}
	for i, p := range problems.Problems {
		if i == maxProblems {
			refusal.Lines = append(refusal.Lines, fmt.Sprintf("… and %d more", len(problems.Problems)-i))
			break
		}
		refusal.Lines = append(refusal.Lines, oneLine(p.String()))
	}
	return warnings, refusal
}
