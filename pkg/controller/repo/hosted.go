package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/desired/edit"
	"ktrdr.io/fleet/pkg/source"
)

// Hosted is the repository on this machine. Safe for concurrent use.
type Hosted struct {
	objects

	cfg HostedConfig
	// candidates are checkouts of what has not passed the gate.
	candidates *source.Commits
	// turn is held by who is about to move the head.
	turn chan struct{}
	// transfers holds one token for each fetch or push that is served.
	transfers chan struct{}
	working   sync.WaitGroup
}

// OpenHosted opens the repository, making it when there is none, and brings its branch to the
// accepted head: a crash may have come between the two. ctx bounds the opening only.
func OpenHosted(ctx context.Context, cfg HostedConfig) (*Hosted, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure hosted repository: %w", err)
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configure hosted repository: %w", err)
	}
	h := &Hosted{cfg: cfg, turn: make(chan struct{}, 1), transfers: make(chan struct{}, cfg.Limits.MaxTransfers)}
	h.limits = cfg.Limits
	if err := h.prepare(ctx); err != nil {
		return nil, fmt.Errorf("open hosted repository %s: %w", cfg.Dir, err)
	}
	return h, nil
}

func (h *Hosted) prepare(ctx context.Context) error {
	dir := h.cfg.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// What a crash left of pushes that were not accepted.
	for _, name := range []string{"incoming", "candidates", "home"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(h.incoming(), 0o700); err != nil {
		return err
	}
	var err error
	if h.git, err = newGit(h.cfg.Git, filepath.Join(dir, "desired-state.git"), filepath.Join(dir, "home"), h.cfg.Limits.GitTimeout); err != nil {
		return err
	}
	if h.trees, err = source.OpenCommits(filepath.Join(dir, "trees"), h.cfg.Limits.Tree); err != nil {
		return err
	}
	if h.candidates, err = source.OpenCommits(filepath.Join(dir, "candidates"), h.cfg.Limits.Tree); err != nil {
		return err
	}
	if err := h.initialise(ctx, h.cfg.Branch); err != nil {
		return err
	}
	return h.settle(ctx)
}

func (h *Hosted) incoming() string { return filepath.Join(h.cfg.Dir, "incoming") }

// initialise makes the bare repository, or brings its configuration to today's. Whatever else
// stands in the configuration goes.
func (o *objects) initialise(ctx context.Context, branch string) error {
	if _, err := o.line(ctx, "init", "--quiet", "--bare", "--template=", "--initial-branch="+branch, o.dir); err != nil {
		return err
	}
	config := "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tfsync = all\n" +
		"[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[uploadpack]\n\tallowFilter = false\n[protocol]\n\tallow = never\n"
	if err := os.WriteFile(filepath.Join(o.dir, "config"), []byte(config), 0o600); err != nil {
		return err
	}
	return sweep(o.dir)
}

// settle makes head and branch agree. The head is what counts. A branch without a head comes
// from a store that was lost: its commit is offered to the gate.
func (h *Hosted) settle(ctx context.Context) error {
	head, err := h.cfg.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the accepted head: %w", err)
	}
	branch, err := h.branch(ctx, h.cfg.Branch)
	if err != nil {
		return err
	}
	switch head {
	case branch:
		return nil
	case "":
		who := Who{Name: "ktrdr-controller"}
		if err := h.cfg.Gate.Accepted(ctx, Push{New: branch, Who: who}); err != nil {
			return fmt.Errorf("accept commit %s of the branch, which no head names: %w", branch, err)
		}
		return nil
	}
	there, err := h.has(ctx, head)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("the accepted head %s is not in the repository: restore the folder %s from a backup that is not older than the store's", head, h.dir)
	}
	return h.setBranch(ctx, h.cfg.Branch, head, "")
}

// Head returns the accepted head. The error wraps ErrEmpty when there is none.
func (h *Hosted) Head(ctx context.Context) (Commit, error) {
	head, err := h.cfg.Head(ctx)
	if err != nil {
		return Commit{}, fmt.Errorf("read the accepted head: %w", err)
	}
	if head == "" {
		return Commit{}, ErrEmpty
	}
	return h.show(ctx, head)
}

// Resolve finds the revision that a hash, or the first four or more characters of one, names.
func (h *Hosted) Resolve(ctx context.Context, rev string) (Commit, error) {
	head, err := h.Head(ctx)
	if err != nil {
		return Commit{}, err
	}
	return h.resolve(ctx, head.ID, rev)
}

// Tree returns the checkout of a revision. It stays until a Prune that does not keep it.
func (h *Hosted) Tree(ctx context.Context, rev string) (source.Tree, error) {
	return h.trees.Tree(ctx, rev, h.dir)
}

// Prune removes the checkouts of all revisions but those in keep.
func (h *Hosted) Prune(keep ...string) error { return h.trees.Prune(keep...) }

// History returns accepted commits, the newest first.
func (h *Hosted) History(ctx context.Context, q HistoryQuery) ([]Commit, error) {
	head, err := h.Head(ctx)
	if errors.Is(err, ErrEmpty) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return h.history(ctx, head.ID, q)
}

// Diff compares two revisions; a "" compares with nothing.
func (h *Hosted) Diff(ctx context.Context, a, b string) (Diff, error) {
	return h.diff(ctx, a, b)
}

// Commit writes a commit with edits on top of base and returns its hash. The head stays: see
// Change.
func (h *Hosted) Commit(ctx context.Context, base string, edits []edit.Edit, who Who, message string) (string, error) {
	if _, err := h.show(ctx, base); err != nil {
		return "", err
	}
	return h.commitEdits(ctx, base, edits, commitHeader{who, message, time.Now()})
}

// Close waits for what is under way. Requests that come later are refused.
func (h *Hosted) Close() error {
	for range cap(h.transfers) {
		h.transfers <- struct{}{}
	}
	h.working.Wait()
	h.turn <- struct{}{}
	return nil
}
