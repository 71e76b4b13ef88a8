package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Holds tells whether the hosted repository in a folder has a commit, which no repository has
// when there is none. It changes nothing, and the repository need not be open.
func Holds(ctx context.Context, dir, commit string) (held bool, err error) {
	bare := filepath.Join(dir, "desired-state.git")
	if _, err := os.Stat(bare); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return false, fmt.Errorf("look into the hosted repository: %w", err)
	}
	home, err := os.MkdirTemp("", "ktrdr-git-")
	if err != nil {
		return false, fmt.Errorf("look into the hosted repository: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	var o objects
	if o.git, err = newGit("", bare, home, Limits{}.withDefaults().GitTimeout); err != nil {
		return false, fmt.Errorf("look into the hosted repository: %w", err)
	}
	return o.has(ctx, commit)
}
