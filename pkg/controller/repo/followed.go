package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/source"
)

// FollowedConfig configures Followed.
type FollowedConfig struct {
	// Dir holds the copy of the repository and what is made of it, owned by Followed alone.
	// Required.
	Dir string
	// Source says where the repository is and how to get at it. CacheDir and History are set
	// here; Path must be empty.
	Source source.GitConfig
	// Git is the program, as in HostedConfig.
	Git string
	// Gate and Head are as in HostedConfig. Required.
	Gate Gate
	Head func(ctx context.Context) (string, error)
	// Interval between two looks at the remote repository. Default 1 min, at least 1 s.
	Interval time.Duration
	// AllowForce accepts a remote branch that has lost accepted commits. Default false.
	AllowForce bool
	Limits     Limits
	// Logger gets what Run finds. nil discards.
	Logger *slog.Logger
}

// Validate returns all problems joined.
func (c FollowedConfig) Validate() error {
	errs := []error{c.Limits.validate()}
	if c.Dir == "" {
		errs = append(errs, errors.New("dir: name a folder for the copy"))
	}
	if c.Gate == nil || c.Head == nil {
		errs = append(errs, errors.New("gate, head: required"))
	}
	if c.Source.Path != "" {
		errs = append(errs, errors.New("source.path: the controller follows whole repositories"))
	}
	if c.Interval != 0 && c.Interval < time.Second {
		errs = append(errs, fmt.Errorf("interval: %s is less than 1s", c.Interval))
	}
	return errors.Join(errs...)
}

// Followed is a copy of a remote repository. Its branch becomes the head when the gate lets
// it. Safe for concurrent use.
type Followed struct {
	accepted
	proposals

	cfg    FollowedConfig
	remote *source.Git
	ring   chan struct{}
	// refused is the last tip that the gate refused, with why: it is not asked again about it.
	// Guarded by the turn.
	refused    string
	refusedErr error
}

// OpenFollowed prepares the copy. It asks the remote repository for nothing.
func OpenFollowed(ctx context.Context, cfg FollowedConfig) (*Followed, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure followed repository: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Interval, cfg.Limits = orDefault(cfg.Interval, time.Minute), cfg.Limits.withDefaults()
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("configure followed repository: %w", err)
	}
	cfg.Dir = dir
	f := &Followed{cfg: cfg, ring: make(chan struct{}, 1)}
	f.limits, f.key = cfg.Limits, cfg.Head
	f.proposals = proposals{gate: cfg.Gate, turn: make(chan struct{}, 1), log: cfg.Logger}
	f.fetch = f.ensure
	if err := f.prepare(ctx); err != nil {
		return nil, fmt.Errorf("open copy of %s: %w", cfg.Source.URL, err)
	}
	return f, nil
}

// prepare makes a bare repository for our own commits, which reads those of the remote out of
// the source's cache.
func (f *Followed) prepare(ctx context.Context) error {
	dir := f.cfg.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"candidates", "home"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	remote := f.cfg.Source
	remote.CacheDir, remote.History, remote.Logger = filepath.Join(dir, "remote"), true, f.cfg.Logger
	remote.Limits = f.cfg.Limits.Tree
	var err error
	if f.remote, err = source.NewGit(remote); err != nil {
		return err
	}
	if f.remote.ObjectDir() == "" {
		return errors.New("a repository on this machine is hosted, not followed; use an https or ssh URL")
	}
	if f.git, err = newGit(f.cfg.Git, filepath.Join(dir, "commits.git"), filepath.Join(dir, "home"), f.cfg.Limits.GitTimeout); err != nil {
		return err
	}
	if err := f.initialise(ctx, "main"); err != nil {
		return err
	}
	objects := filepath.Join(f.remote.ObjectDir(), "objects")
	if err := os.MkdirAll(filepath.Join(objects, "pack"), 0o700); err != nil {
		return err
	}
	info := filepath.Join(f.dir, "objects", "info")
	if err := errors.Join(os.MkdirAll(info, 0o700), os.WriteFile(filepath.Join(info, "alternates"), []byte(objects+"\n"), 0o600)); err != nil {
		return err
	}
	f.gitDirs = []string{f.dir, f.remote.ObjectDir()}
	if f.trees, err = source.OpenCommits(filepath.Join(dir, "trees"), f.cfg.Limits.Tree); err != nil {
		return err
	}
	f.candidates, err = source.OpenCommits(filepath.Join(dir, "candidates"), f.cfg.Limits.Tree)
	return err
}

// ensure fetches when a commit is not here: another controller may have accepted it.
func (f *Followed) ensure(ctx context.Context, id string) error {
	if !fullHash.MatchString(id) {
		return fmt.Errorf("%q: %w", oneLine(id), ErrUnknownRevision)
	}
	there, err := f.has(ctx, id)
	if err != nil || there {
		return err
	}
	if _, err := f.remote.Fetch(ctx, ""); err != nil {
		return err
	}
	if there, err = f.has(ctx, id); err == nil && !there {
		return fmt.Errorf("%s: %w: the remote branch does not have it", id, ErrUnknownRevision)
	}
	return err
}

// Sync looks at the remote branch and, when it has moved, passes it through the gate. It
// returns the head. A commit that the gate refused is an error each time, and is not checked
// again. Of several controllers one calls it.
func (f *Followed) Sync(ctx context.Context) (string, error) {
	if err := f.take(ctx); err != nil {
		return "", fmt.Errorf("look at %s: %w", f.cfg.Source.URL, err)
	}
	defer f.release()
	return f.sync(ctx)
}

// sync is Sync with the turn held.
func (f *Followed) sync(ctx context.Context) (string, error) {
	head, err := f.key(ctx)
	if err != nil {
		return "", fmt.Errorf("read the accepted head: %w", err)
	}
	tree, err := f.remote.Fetch(ctx, head)
	if err != nil {
		return "", err
	}
	tip := tree.Revision.ID
	switch tip {
	case head:
		return head, nil
	case f.refused:
		return "", f.refusedErr
	}
	push := Push{Old: head, New: tip, Who: remoteAuthor(tree.Revision), From: f.cfg.Source.URL, Tree: tree}
	if err := f.admit(ctx, push); err != nil {
		if refusal, ok := errors.AsType[*Refusal](err); ok {
			f.refused, f.refusedErr = tip, fmt.Errorf("commit %.10s of %s is refused:\n%w", tip, f.cfg.Source.URL, refusal)
			return "", f.refusedErr
		}
		return "", err
	}
	return tip, nil
}

// admit checks what the remote branch has and moves the head to it.
func (f *Followed) admit(ctx context.Context, push Push) error {
	if push.Old != "" && !f.cfg.AllowForce {
		forward, err := f.isAncestor(ctx, push.Old, push.New)
		if err == nil && !forward {
			err = &Refusal{Lines: []string{fmt.Sprintf("the branch no longer has the accepted commit %.10s: push it again on top of that, or set allowForce", push.Old)}}
		}
		if err != nil {
			return err
		}
	}
	if err := f.gate.Check(ctx, push, func(string) {}); err != nil {
		return err
	}
	return f.advance(ctx, push, f.key)
}

func remoteAuthor(rev source.Revision) Who {
	name, rest, _ := strings.Cut(rev.Author, " <")
	return Who{Name: name, Email: strings.TrimSuffix(rest, ">")}
}

// Ring makes Run look at once. A webhook calls it; it says nothing about what there is to see.
func (f *Followed) Ring() {
	select {
	case f.ring <- struct{}{}:
	default:
	}
}

// Run looks at the remote repository at each interval and each Ring until ctx ends. What goes
// wrong is logged when it is news.
func (f *Followed) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last string
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-f.ring:
		}
		_, err := f.Sync(ctx)
		said := ""
		if err != nil {
			said = err.Error()
		}
		if said != last && ctx.Err() == nil {
			f.cfg.Logger.Warn("follow the desired state's repository", "url", f.cfg.Source.URL, "err", said)
		}
		last = said
		timer.Reset(f.cfg.Interval)
	}
}

// Close waits for what is under way.
func (f *Followed) Close() error {
	f.turn <- struct{}{}
	return f.remote.Close()
}

// pack is a stream of the objects that a push needs.
func (f *Followed) pack(ctx context.Context, old, id string) io.ReadCloser {
	in, out := io.Pipe()
	go func() {
		_, err := f.do(ctx, run{
			args:  []string{"pack-objects", "--revs", "--stdout", "-q"},
			stdin: strings.NewReader(id + "\n^" + old + "\n"), stdout: out,
		})
		out.CloseWithError(err)
	}()
	return in
}

// Prune removes the checkouts of all revisions but those in keep.
func (f *Followed) Prune(keep ...string) error {
	return errors.Join(f.trees.Prune(keep...), f.remote.Prune(keep...))
}
