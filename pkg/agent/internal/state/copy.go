package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"ktrdr.io/fleet/pkg/treehash"
)

// copier copies one file or folder out of a repository tree.
type copier struct {
	to    string
	bytes int64
	files int
}

// copy reads through os.Root, so that no symbolic link leads out even while somebody
// changes the tree; treehash, which reads the copy, refuses the links themselves.
func (c *copier) copy(ctx context.Context, from, name string) error {
	root, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing was written
	for at := name; at != "."; at = path.Dir(at) {
		if info, err := root.Lstat(at); err != nil || info.Mode()&fs.ModeSymlink != 0 {
			return errors.Join(err, linkFault(info, at))
		}
	}
	err = fs.WalkDir(root.FS(), name, func(at string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if c.files++; c.files > treehash.MaxFiles {
			return fmt.Errorf("more than %d files and folders: %w", treehash.MaxFiles, treehash.ErrTooLarge)
		}
		to := c.to
		if at != name {
			to = filepath.Join(c.to, filepath.FromSlash(strings.TrimPrefix(strings.TrimPrefix(at, name), "/")))
			if name == "." {
				to = filepath.Join(c.to, filepath.FromSlash(at))
			}
		}
		switch {
		case entry.IsDir():
			return os.Mkdir(to, buildMode) //nolint:gosec // containers of any user read it
		case entry.Type().IsRegular():
			return c.file(root, at, to)
		}
		return linkFault(nil, at)
	})
	if err != nil {
		return err
	}
	return seal(c.to)
}

func linkFault(info fs.FileInfo, at string) error {
	if info == nil || info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s: %w", at, treehash.ErrKind)
	}
	return nil
}

func (c *copier) file(root *os.Root, from, to string) error {
	in, err := root.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // nothing was written
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", from, treehash.ErrKind)
	}
	mode := fs.FileMode(fileMode)
	if info.Mode()&0o111 != 0 {
		mode = executableMode
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // below our own folder
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(in, treehash.MaxBytes-c.bytes+1))
	// Chmod and not the mode of the open: the umask of the agent must not count.
	err = errors.Join(err, out.Chmod(mode), out.Sync(), out.Close())
	if c.bytes += n; err == nil && c.bytes > treehash.MaxBytes {
		return fmt.Errorf("more than %d MiB: %w", treehash.MaxBytes>>20, treehash.ErrTooLarge)
	}
	return err
}

// seal takes the write permission from folders and makes their names durable, the
// innermost first.
func seal(top string) error {
	var folders []string
	err := filepath.WalkDir(top, func(at string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			folders = append(folders, at)
		}
		return err
	})
	for i := len(folders) - 1; err == nil && i >= 0; i-- {
		if err = syncDir(folders[i]); err == nil {
			err = os.Chmod(folders[i], folderMode) //nolint:gosec // containers of any user read it
		}
	}
	return err
}
