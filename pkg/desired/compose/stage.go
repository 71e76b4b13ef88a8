package compose

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// maxIncludes bounds how deep files may include or extend each other.
const maxIncludes = 20

// origin says how a file came to be read.
type origin struct {
	// workdir is where relative paths of the file start, relative to the root.
	workdir string
	// model is the working directory of the model that the file becomes part of. For an
	// extended file it is that of the extending one.
	model     string
	variables *variables
	base      bool // read because of extends
	stack     []string
	// from is the path of the include or extends entry in the file that names this one.
	from string
}

// stage reads all files that take part and rewrites what leads from one to another, so
// that compose-go has nothing left to read.
func (l *loading) stage() error {
	for _, file := range l.req.Files {
		from := origin{workdir: l.dir, model: l.dir, variables: l.variables}
		content, ok := l.stageFile(file, from)
		if ok {
			l.main = append(l.main, types.ConfigFile{Filename: path.Clean(file), Content: content})
		}
	}
	if len(l.found.problems) > 0 {
		l.settle(nil)
	}
	return l.verdict()
}

// stageFile reads one file and returns what compose-go shall see of it.
func (l *loading) stageFile(file string, from origin) ([]byte, bool) {
	before := len(l.found.problems)
	if err := l.ctx.Err(); err != nil {
		return nil, false
	}
	data, err := l.repo.file(file)
	if err != nil {
		l.unreadable(file, from, err)
		return nil, false
	}
	name := path.Clean(file)
	index, err := yamlpos.Parse(name, data)
	if err != nil {
		l.invalid(err)
		return nil, false
	}
	l.found.indexes = append(l.found.indexes, index)
	from.variables.observe(data)
	from.variables.observeKeys(index)
	l.deferFaults(index, from)
	from.stack = append(slices.Clone(from.stack), name)
	content, err := l.rewrite(data, index, from)
	if err != nil {
		l.found.problems = append(l.found.problems, Problem{File: name, Line: 1, Column: 1, Message: err.Error()})
	}
	if !from.base {
		l.validateSchema(content, index, from)
	}
	return content, len(l.found.problems) == before
}

// unreadable reports a file that can't be read where it is named, or as itself.
func (l *loading) unreadable(file string, from origin, err error) {
	if from.from != "" {
		l.found.errorf(from.from, "%v", err)
		return
	}
	l.found.problems = append(l.found.problems, Problem{File: file, Line: 1, Column: 1, Message: err.Error()})
}

var servicePath = regexp.MustCompile(`^services\.([^.\[]+)`)

// deferFaults looks for variables without a value and references that can't be resolved. Extension fields count where they are
// used: through an alias they show up at the path that uses them.
func (l *loading) deferFaults(index *yamlpos.Index, from origin) {
	for s := range index.Scalars() {
		if strings.HasPrefix(s.Path, "x-") || s.Tag != "!!str" {
			continue
		}
		for _, f := range textFaults(s.Value, from.variables.get) {
			p := deferredProblem{base: from.base, Problem: Problem{
				File: index.File(), Line: s.Line, Column: s.Column, Path: s.Path, Message: f.message,
			}, apart: f.reference}
			if m := servicePath.FindStringSubmatch(s.Path); m != nil {
				p.service = m[1]
			}
			l.deferred = append(l.deferred, p)
			if !f.reference {
				l.found.faulty[s.Path] = true
			}
		}
	}
}

// keep writes a private copy for compose-go and returns its path.
func (l *loading) keep(c stagedCopy, content []byte) (string, error) {
	file, err := l.reserve(c)
	if err != nil {
		return "", err
	}
	return file, l.fill(file, content)
}

// reserve names a copy before its content is known: extended files may form a cycle.
func (l *loading) reserve(c stagedCopy) (string, error) {
	if l.temp == "" {
		temp, err := os.MkdirTemp("", "ktrdr-compose-")
		if err != nil {
			return "", fmt.Errorf("keep a copy of %s: %w", c.name, err)
		}
		l.temp = temp
	}
	file := filepath.Join(l.temp, fmt.Sprintf("%d.yaml", len(l.copies)))
	l.copies[file] = c
	return file, nil
}

func (l *loading) fill(file string, content []byte) error {
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return fmt.Errorf("keep a copy of %s: %w", l.copies[file].name, err)
	}
	return nil
}

// below returns to relative to from; both are inside of the repository.
func below(from, to string) string {
	rel, err := filepath.Rel(from, to)
	if err != nil {
		return to
	}
	return rel
}

// remote tells what Compose would fetch from elsewhere.
func remote(file string) bool {
	for _, prefix := range []string{"git@", "github.com/"} {
		if strings.HasPrefix(file, prefix) {
			return true
		}
	}
	return strings.Contains(file, "://") || strings.Contains(file, ".git#")
}
