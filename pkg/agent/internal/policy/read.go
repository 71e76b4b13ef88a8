package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Read reads and parses the policy file at an absolute path. A file, or a folder above it,
// that somebody else than root could change is refused: it would be no wall.
func Read(name string) (*Policy, error) {
	target, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	for _, folder := range []string{filepath.Dir(filepath.Clean(name)), filepath.Dir(target)} {
		if err := guardFolders(folder); err != nil {
			return nil, fmt.Errorf("read policy %s: %w", name, err)
		}
	}
	data, err := readGuarded(target)
	if err != nil {
		return nil, fmt.Errorf("read policy %s: %w", name, err)
	}
	return Parse(name, data)
}

// readGuarded looks at the owner of what it opened, not at a name that may change its
// meaning in between.
func readGuarded(name string) ([]byte, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	if err := guard(name, info); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(file, MaxSize+1))
}

// guardFolders checks a folder and all above it.
func guardFolders(folder string) error {
	for {
		info, err := os.Stat(folder)
		if err != nil {
			return err
		}
		if err := guard(folder, info); err != nil {
			return err
		}
		if folder == filepath.Dir(folder) {
			return nil
		}
		folder = filepath.Dir(folder)
	}
}

// guard refuses what others than root may change. In a folder of root with the sticky bit
// nobody else can replace what is root's.
func guard(name string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return fmt.Errorf("%s: its owner can't be told", name)
	case stat.Uid != 0:
		return fmt.Errorf("%s belongs to user %d: run `chown root %s`", name, stat.Uid, name)
	case info.Mode().Perm()&0o022 != 0 && info.Mode()&(fs.ModeDir|fs.ModeSticky) != fs.ModeDir|fs.ModeSticky:
		return fmt.Errorf("%s can be written by others than root (mode %04o): run `chmod go-w %s`", name, info.Mode().Perm(), name)
	}
	return nil
}
