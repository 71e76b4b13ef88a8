package repo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// DiffFolder compares a commit with a folder: what a push of it would change. A "" compares
// with nothing. What git makes of the folder is removed again; nothing of it gets into the
// repository.
func (r *accepted) DiffFolder(ctx context.Context, base, dir string) (Diff, error) {
	scratch, err := os.MkdirTemp(r.home, "folder-")
	if err != nil {
		return Diff{}, fmt.Errorf("compare with a folder: %w", err)
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // objects that nobody reads again
	if err := os.MkdirAll(filepath.Join(scratch, "objects", "pack"), 0o700); err != nil {
		return Diff{}, fmt.Errorf("compare with a folder: %w", err)
	}
	env := []string{
		"GIT_OBJECT_DIRECTORY=" + filepath.Join(scratch, "objects"),
		"GIT_ALTERNATE_OBJECT_DIRECTORIES=" + filepath.Join(r.dir, "objects"),
		"GIT_INDEX_FILE=" + filepath.Join(scratch, "index"), "GIT_WORK_TREE=" + dir,
	}
	if _, err := r.do(ctx, run{args: []string{"add", "--all", "--", ":/"}, env: env}); err != nil {
		return Diff{}, fmt.Errorf("compare with a folder: %w", err)
	}
	tree, err := r.do(ctx, run{args: []string{"write-tree"}, env: env})
	if err != nil {
		return Diff{}, fmt.Errorf("compare with a folder: %w", err)
	}
	if base == "" {
		base = emptyTree
	}
	return r.compare(ctx, base, strings.TrimSpace(string(tree)), env)
}
