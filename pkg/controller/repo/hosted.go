package repo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"ktrdr.io/fleet/pkg/source"
)

// Hosted is the repository on this machine. Safe for concurrent use.
type Hosted struct {
	accepted
	proposals

	cfg HostedConfig
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
	h := &Hosted{cfg: cfg, transfers: make(chan struct{}, cfg.Limits.MaxTransfers)}
	h.limits, h.key = cfg.Limits, cfg.Head
	h.proposals = proposals{gate: cfg.Gate, turn: make(chan struct{}, 1), log: cfg.Logger}
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
	h.gitDirs = []string{h.dir}
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

// Close waits for what is under way. Requests that come later are refused.
func (h *Hosted) Close() error {
	for range cap(h.transfers) {
		h.transfers <- struct{}{}
	}
	h.working.Wait()
	h.turn <- struct{}{}
	return nil
}
