package compose

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// Problem is one defect or warning, with its place in a file of the repository.
type Problem struct {
	// File is relative to the root of the repository.
	File string
	// Line and Column count from 1.
	Line, Column int
	// Path is like "services.db.ports[0]".
	Path    string
	Message string
}

// String prints "file:line:column: path: message".
func (p Problem) String() string {
	path := p.Path
	if path != "" {
		path += ": "
	}
	return fmt.Sprintf("%s:%d:%d: %s%s", p.File, p.Line, p.Column, path, p.Message)
}

// Error holds all problems of a stack's Compose files, sorted and without duplicates.
type Error struct{ Problems []Problem }

// Error prints one problem per line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// findings collects problems and warnings and knows the files they are about.
type findings struct {
	indexes  []*yamlpos.Index
	problems []Problem
	warnings []Problem
	// faulty are paths whose value is a stand-in for a variable that is missing.
	faulty map[string]bool
	// secrets are problems that don't keep the rest from being checked.
	secrets []SecretProblem
}

// errorf reports at a path, unless the value there is a stand-in: what is wrong with that
// follows from the missing variable.
func (f *findings) errorf(path, format string, args ...any) {
	for faulty := range f.faulty {
		if faulty == path || strings.HasPrefix(faulty, path+"[") {
			return
		}
	}
	f.problems = append(f.problems, f.locate(path, fmt.Sprintf(format, args...)))
}

func (f *findings) warnf(path, format string, args ...any) {
	f.warnings = append(f.warnings, f.locate(path, fmt.Sprintf(format, args...)))
}

// fail reports an error of a file that path names: joined ones one by one, each where it
// is if it knows, else at path.
func (f *findings) fail(path string, err error) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, each := range joined.Unwrap() {
			f.fail(path, each)
		}
		return
	}
	if line, ok := errors.AsType[*lineError](err); ok {
		f.problems = append(f.problems, Problem{File: line.file, Line: line.line, Column: 1, Path: path, Message: line.message})
		return
	}
	f.errorf(path, "%v", err)
}

// locate finds the file that knows most of path; of several the last, which overrides
// the others.
func (f *findings) locate(path, message string) Problem {
	p := Problem{Path: path, Message: api.Display(message), Line: 1, Column: 1}
	for known := path; ; known = ancestor(known) {
		for _, index := range slices.Backward(f.indexes) {
			if known == "" || index.Has(known) {
				p.File = index.File()
				p.Line, p.Column = index.At(known)
			}
			if known != "" && index.Has(known) {
				return p
			}
		}
		if known == "" {
			return p
		}
	}
}

func ancestor(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

func (f *findings) sortedWarnings() []Problem { return sorted(f.warnings) }

func sorted(problems []Problem) []Problem {
	problems = slices.Clone(problems)
	slices.SortFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.Compact(problems)
}
