package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// errChanged: what was listed a moment ago is no longer what is there.
var errChanged = errors.New("the folder changed while it was read")

// walker feeds a folder to a manifest. It follows no symbolic link.
type walker struct {
	ctx  context.Context //nolint:containedctx // lives for one walk
	from *os.Root
	into *manifest
	skip func(base string) bool
	// mode maps what lstat says to what the manifest gets.
	mode func(fs.FileMode) fs.FileMode
}

// walk adds all of from. A nil skip skips nothing.
func (w walker) walk() error { return w.folder(".") }

func (w walker) folder(dir string) error {
	f, err := w.from.Open(dir)
	if err != nil {
		return gone(err)
	}
	list, err := f.ReadDir(w.into.limits.MaxFiles + 1)
	_ = f.Close()
	if err != nil && len(list) == 0 && !errors.Is(err, io.EOF) {
		return gone(err)
	}
	for _, d := range list {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if w.skip != nil && w.skip(d.Name()) {
			continue
		}
		if err := w.one(path.Join(dir, d.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (w walker) one(name string) error {
	info, err := w.from.Lstat(name)
	if err != nil {
		return gone(err)
	}
	if info.ModTime().After(w.into.newest) {
		w.into.newest = info.ModTime()
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		if err := w.into.dir(name, w.mode(info.Mode())); err != nil {
			return err
		}
		return w.folder(name)
	case fs.ModeSymlink:
		target, err := w.from.Readlink(name)
		if err != nil {
			return gone(err)
		}
		return w.into.symlink(name, target)
	case 0:
		return w.file(name, info)
	default:
		return fail(ReasonInvalid, "%s is a %s; only files, folders and symbolic links can be desired state", name, kindOf(info.Mode()))
	}
}

// file opens with O_NONBLOCK and compares identities, so that neither a named pipe nor a link that took the file's
// place after the Lstat is read.
func (w walker) file(name string, info fs.FileInfo) error {
	f, err := w.from.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return gone(err)
	}
	defer func() { _ = f.Close() }()
	now, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(info, now) {
		return errChanged
	}
	return w.into.file(name, w.mode(info.Mode()), f)
}

// gone turns "does not exist" into errChanged: the name was in a listing.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %w", errChanged, err)
	}
	return err
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	default:
		return "special file"
	}
}
