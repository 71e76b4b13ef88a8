package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// loading is the state of one Load.
type loading struct {
	ctx  context.Context //nolint:containedctx // lives for one call of Load
	req  Request
	dir  string
	repo *repository
	// temp holds private copies of included and extended files; empty until needed.
	temp   string
	main   []types.ConfigFile
	copies map[string]stagedCopy // by path in temp
	bases  map[string]string     // extended files: path in temp by file and working directory
	staged keySet

	found     findings
	deferred  []deferredProblem
	extended  map[string]map[string]bool // file of the repository -> services that are extended
	refs      *references
	variables *variables
	tilde     map[string]string // as compose-go expands it -> as it is written
}

// stagedCopy remembers what a copy stands for.
type stagedCopy struct {
	name string // in the repository
	dir  string // what relative paths in it start from, relative to the including model
}

// deferredProblem counts only when its service is enabled in the end.
type deferredProblem struct {
	Problem

	service string
	base    bool // the file is only extended, never loaded as a whole
	warning bool
	apart   bool // about a secret: see Project.Secrets
}

func open(ctx context.Context, req Request) (*loading, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("load compose files: %w", err)
	}
	if len(req.Files) == 0 {
		return nil, errors.New("load compose files: none were named")
	}
	dir, err := inside(req.Dir)
	if err != nil {
		return nil, fmt.Errorf("project directory: %w", err)
	}
	if req.WorkingDirectory != "" && !filepath.IsAbs(req.WorkingDirectory) {
		return nil, fmt.Errorf("working directory %q is not an absolute path", req.WorkingDirectory)
	}
	repo, err := openRepository(req.Root, req.Visit)
	if err != nil {
		return nil, err
	}
	return &loading{
		ctx: ctx, req: req, dir: dir, repo: repo,
		copies: map[string]stagedCopy{}, bases: map[string]string{}, staged: keySet{},
		extended: map[string]map[string]bool{}, tilde: map[string]string{},
		found: findings{faulty: map[string]bool{}},
		refs:  newReferences(), variables: newVariables(req.Project, req.Lookup),
	}, nil
}

func (l *loading) close() {
	l.repo.root.Close()
	if l.temp != "" {
		os.RemoveAll(l.temp)
	}
}

// verdict returns all problems as *Error, or nil.
func (l *loading) verdict() error {
	if err := l.ctx.Err(); err != nil {
		return fmt.Errorf("load compose files: %w", err)
	}
	if len(l.found.problems) == 0 {
		return nil
	}
	problems := l.found.problems
	for _, p := range l.found.secrets {
		if p.Plaintext == "" {
			problems = append(problems, p.Problem)
		}
	}
	return &Error{Problems: sorted(problems)}
}

// settle decides on the deferred problems. With nil every service counts.
func (l *loading) settle(enabled types.Services) {
	for _, d := range l.deferred {
		_, on := enabled[d.service]
		switch {
		case d.service == "":
		case d.base && !l.extended[d.File][d.service], !d.base && !on && enabled != nil:
			continue
		}
		switch {
		case d.apart:
			l.found.secrets = append(l.found.secrets, SecretProblem{Problem: d.Problem})
		case d.warning:
			l.found.warnings = append(l.found.warnings, d.Problem)
		default:
			l.found.problems = append(l.found.problems, d.Problem)
		}
	}
	l.deferred = nil
}

// invalid takes over the problems of a file that is not YAML.
func (l *loading) invalid(err error) {
	if all, ok := errors.AsType[*yamlpos.Error](err); ok {
		for _, p := range all.Problems {
			l.found.problems = append(l.found.problems, Problem(p))
		}
	}
}

// noteTilde remembers what compose-go would expand with the agent's own home directory.
func (l *loading) noteTilde(value string) {
	if !strings.HasPrefix(value, "~") {
		return
	}
	first, _, _ := strings.Cut(value, ":")
	if home, err := os.UserHomeDir(); err == nil {
		l.tilde[filepath.Join(home, first[1:])] = first
	}
}

// fromHome tells whether a path was written with "~", and how. Without a home directory
// compose-go leaves "~" as it is.
func (l *loading) fromHome(source string) (string, bool) {
	if written, ok := l.tilde[source]; ok {
		return written, true
	}
	rest, err := filepath.Rel(l.dir, source)
	return rest, err == nil && strings.HasPrefix(rest, "~")
}
