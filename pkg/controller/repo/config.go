package repo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/source"
)

// Who does something to the repository.
type Who struct {
	// Name becomes the author of commits, such as an operator's name. Required for changes.
	Name string
	// Email of the author; "" becomes <name>@ktrdr.invalid.
	Email string
}

// Push is a change of the head that waits for the gate: a push by git, or a commit that the
// controller made for a command.
type Push struct {
	// Old and New are full commit hashes; Old is "" for the first commit.
	Old, New string
	Who      Who
	// From is the address that it came from, for the audit log; may be empty.
	From string
	// Options are those of git push -o.
	Options []string
	// Tree is the checkout of New. Check alone may use it: it goes away afterwards.
	Tree source.Tree
	// Earlier reads what earlier commits of a push brought; nil when there are none, and for
	// those of a followed repository. Check alone may use it.
	Earlier Earlier
}

// Gate decides about changes of the head.
type Gate interface {
	// Check returns nil or why the push is refused, one line for each problem. progress may
	// be called from one goroutine at a time; its lines reach the pusher at once. ctx ends
	// when the pusher is gone.
	Check(ctx context.Context, push Push, progress func(line string)) error
	// Accepted moves the head from push.Old to push.New by compare-and-swap, together with
	// what has to be true with it (a rollout, a record of the audit). It wraps ErrHeadMoved
	// when the head is not Old. It is called with the objects on disk, does not end with the
	// pusher's connection, and may be called for a push without Check when a start finds a
	// branch and no head.
	Accepted(ctx context.Context, push Push) error
	// Watch tells the pusher what becomes of an accepted revision, until it is decided or ctx
	// ends with the pusher's connection. An error is told and changes nothing.
	Watch(ctx context.Context, rev string, progress func(line string)) error
}

// ErrHeadMoved says that somebody else changed the head first.
var ErrHeadMoved = errors.New("the head has moved")

// ErrEmpty says that there is no commit yet.
var ErrEmpty = errors.New("the repository is empty: push a first commit")

// ErrUnknownRevision says that no commit of the branch's history is called so.
var ErrUnknownRevision = errors.New("is no revision of this repository")

// ErrUnauthenticated and ErrForbidden are what Authorize wraps: the answers are 401 and 403.
var (
	ErrUnauthenticated = errors.New("not authenticated")
	ErrForbidden       = errors.New("not allowed")
)

// Limits bound what comes from outside and what git may do for it. Zero values mean the
// defaults.
type Limits struct {
	// Tree bounds a checkout, as in pkg/source.
	Tree source.Limits
	// MaxPushBytes is the largest pack. Default 64 MiB.
	MaxPushBytes int64
	// MaxDiffBytes is the longest diff that is returned. Default 1 MiB.
	MaxDiffBytes int64
	// MaxTransfers is how many fetches and pushes are served at a time. Default 16.
	MaxTransfers int
	// GitTimeout bounds one run of git, but for transfers. Default 1 min.
	GitTimeout time.Duration
	// TransferTimeout bounds a fetch, and a push up to its acceptance. Default 10 min.
	TransferTimeout time.Duration
	// WatchTimeout bounds how long a pusher watches. Default 1 h.
	WatchTimeout time.Duration
}

func (l Limits) withDefaults() Limits {
	l.MaxPushBytes = orDefault(l.MaxPushBytes, 64<<20)
	l.MaxDiffBytes = orDefault(l.MaxDiffBytes, 1<<20)
	l.MaxTransfers = orDefault(l.MaxTransfers, 16)
	l.GitTimeout = orDefault(l.GitTimeout, time.Minute)
	l.TransferTimeout = orDefault(l.TransferTimeout, 10*time.Minute)
	l.WatchTimeout = orDefault(l.WatchTimeout, time.Hour)
	return l
}

func orDefault[T int | int64 | time.Duration](value, fallback T) T {
	if value == 0 {
		return fallback
	}
	return value
}

func (l Limits) validate() error {
	if l.MaxPushBytes < 0 || l.MaxDiffBytes < 0 || l.MaxTransfers < 0 || l.GitTimeout < 0 || l.TransferTimeout < 0 || l.WatchTimeout < 0 {
		return errors.New("limits: must not be negative")
	}
	return l.Tree.Validate()
}

// HostedConfig configures Hosted.
type HostedConfig struct {
	// Dir holds the repository and what is made of it, owned by Hosted alone. Required.
	Dir string
	// Branch is the one branch. Default "main".
	Branch string
	// Git is the program: a name that is looked up in PATH, or a path. Default "git".
	// Version 2.36 is the oldest that works.
	Git string
	// Gate decides about every change. Required.
	Gate Gate
	// Head reads the accepted head from the store; "" for none. Required.
	Head func(ctx context.Context) (string, error)
	// Authorize says who makes a request. It wraps ErrUnauthenticated or ErrForbidden; any
	// other error is answered by 500. Required for ServeHTTP.
	Authorize func(r *http.Request, write bool) (Who, error)
	// AllowForce lets pushes replace the branch by one without its commits. Default false.
	AllowForce bool
	Limits     Limits
	// Logger gets what no caller can be told. nil discards.
	Logger *slog.Logger
}

var branchName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// Validate returns all problems joined.
func (c HostedConfig) Validate() error {
	errs := []error{c.Limits.validate()}
	if c.Dir == "" {
		errs = append(errs, errors.New("dir: name a folder for the repository"))
	}
	if c.Branch != "" && !plainBranch(c.Branch) {
		errs = append(errs, fmt.Errorf("branch: %q is no plain branch name", c.Branch))
	}
	if c.Gate == nil || c.Head == nil {
		errs = append(errs, errors.New("gate, head: required"))
	}
	return errors.Join(errs...)
}

func plainBranch(name string) bool {
	return branchName.MatchString(name) && !strings.Contains(name, "..") && !strings.HasSuffix(name, ".lock") && !strings.HasSuffix(name, ".")
}

func (c HostedConfig) withDefaults() (HostedConfig, error) {
	if c.Branch == "" {
		c.Branch = "main"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Limits = c.Limits.withDefaults()
	dir, err := filepath.Abs(c.Dir)
	c.Dir = dir
	return c, err
}
