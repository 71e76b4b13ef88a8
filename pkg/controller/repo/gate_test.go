package repo_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ktrdr.io/fleet/pkg/controller/repo"
)

// gate is a gate whose head is a file: it outlives a process, as etcd does.
type gate struct {
	file string

	mu       sync.Mutex
	accepted []repo.Push
	// check, accept and watch, when set, come before or instead of the usual.
	check  func(ctx context.Context, push repo.Push, progress func(string)) error
	accept func(push repo.Push) error
	watch  func(ctx context.Context, rev string, progress func(string)) error
}

func newGate(tb testing.TB) *gate { return &gate{file: filepath.Join(tb.TempDir(), "head")} }

func (g *gate) head(context.Context) (string, error) {
	data, err := os.ReadFile(g.file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(data), err
}

func (g *gate) Check(ctx context.Context, push repo.Push, progress func(string)) error {
	if g.check != nil {
		return g.check(ctx, push, progress)
	}
	warnings, err := repo.Validate(ctx, push.Tree.Dir)
	for _, line := range warnings {
		progress(line)
	}
	return err
}

func (g *gate) Accepted(ctx context.Context, push repo.Push) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.accept != nil {
		if err := g.accept(push); err != nil {
			return err
		}
	}
	now, err := g.head(ctx)
	if err != nil {
		return err
	}
	if now != push.Old {
		return fmt.Errorf("%w to %s", repo.ErrHeadMoved, now)
	}
	if err := os.WriteFile(g.file+".new", []byte(push.New), 0o600); err != nil {
		return err
	}
	if err := os.Rename(g.file+".new", g.file); err != nil {
		return err
	}
	g.accepted = append(g.accepted, push)
	return nil
}

func (g *gate) Watch(ctx context.Context, rev string, progress func(string)) error {
	if g.watch != nil {
		return g.watch(ctx, rev, progress)
	}
	progress("rollout of " + rev[:7] + ": converged")
	return nil
}

// pushes are those that were accepted so far.
func (g *gate) pushes() []repo.Push {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]repo.Push(nil), g.accepted...)
}

// lines collects progress.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "\n")
}
