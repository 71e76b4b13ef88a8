package edit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/desired"
)

// RequestError tells of a change that makes no sense in any repository, such as one of a node
// with a name that none can have.
type RequestError struct{ text string }

// Error says what is wrong.
func (e *RequestError) Error() string { return e.text }

func nonsense(format string, args ...any) error { return &RequestError{fmt.Sprintf(format, args...)} }

// Edit is the change of one file.
type Edit struct {
	// Path is relative to the repository's root.
	Path string
	// Before and After are the whole content.
	Before, After []byte
	// Summary is one line for a commit message, without a line break.
	Summary string
}

// Result is what a change comes to.
type Result struct {
	// Edits are sorted by path. There are none when all is as asked already.
	Edits []Edit
	// Services are those whose image changes, sorted; SetScale leaves it empty.
	Services []string
	// Notes are places that keep something of the change from taking effect, such as a
	// node with a tag of its own.
	Notes []desired.Problem
}

// result collects what changed in the workspace.
func (w *workspace) result() Result {
	var out Result
	for _, name := range slices.Sorted(maps.Keys(w.files)) {
		if f := w.files[name]; len(f.summary) > 0 {
			out.Edits = append(out.Edits, Edit{Path: name, Before: f.before, After: f.data, Summary: strings.Join(f.summary, "; ")})
		}
	}
	return out
}

// fail makes an error of one problem at a place.
func fail(at desired.Problem, format string, args ...any) error {
	at.Message = fmt.Sprintf(format, args...)
	return &desired.Error{Problems: []desired.Problem{at}}
}
