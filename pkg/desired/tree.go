package desired

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"ktrdr.io/fleet/pkg/desired/compose"
)

// Limits of a repository. Real ones stay far below.
const (
	maxFileBytes = 1 << 20
	// maxEntries of the repository, of nodes/ and of stacks/, each.
	maxEntries = 1000
)

// tree reads a repository through os.Root: no symlink leads out of it.
type tree struct {
	root *os.Root
	dir  string
	// load is compose.Load, or a Loader's where several nodes are read.
	load func(context.Context, compose.Request) (*compose.Project, error)
	// parsed are the indexes of Compose files, for all nodes that have them.
	parsed parsedFiles
}

func openTree(dir string) (*tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open desired state: %w", err)
	}
	return &tree{root: root, dir: dir, load: compose.Load}, nil
}

func (t *tree) close() error { return t.root.Close() }

// read returns the content of a text file. Errors are about the file alone and don't
// repeat its name.
func (t *tree) read(name string) ([]byte, error) {
	info, err := t.root.Stat(name)
	if err != nil {
		return nil, plainError(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	file, err := t.root.Open(name)
	if err != nil {
		return nil, plainError(err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, plainError(err)
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("is larger than %d bytes", maxFileBytes)
	}
	if at := invalidUTF8(data); at >= 0 {
		return nil, fmt.Errorf("is not UTF-8 text (byte %d)", at)
	}
	return data, nil
}

// plainError leaves out the system call and the path: the place already says it.
func plainError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("does not exist")
	}
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		if strings.Contains(pathError.Err.Error(), "escapes") {
			return errors.New("is a symbolic link that leaves the repository")
		}
		return pathError.Err
	}
	return err
}

func invalidUTF8(data []byte) int {
	if utf8.Valid(data) {
		return -1
	}
	at := 0
	for at < len(data) {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

// list returns the names in a folder, sorted; folders end in a slash. A missing folder is
// empty. Symlinks are listed as what they point to.
func (t *tree) list(folder string) ([]string, error) {
	entries, err := fs.ReadDir(t.root.FS(), folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, plainError(err)
	}
	if len(entries) > maxEntries {
		return nil, fmt.Errorf("has more than %d entries", maxEntries)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		name := entry.Name()
		if t.isFolder(path.Join(folder, name)) {
			name += "/"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (t *tree) isFolder(name string) bool {
	info, err := t.root.Stat(name)
	return err == nil && info.IsDir()
}

func (t *tree) isFile(name string) bool {
	info, err := t.root.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
