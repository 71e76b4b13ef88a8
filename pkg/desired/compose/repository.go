package compose

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Limits on what one Load reads.
const (
	// MaxFile bounds each file that is read into memory, in bytes.
	MaxFile = 1 << 20
	// MaxProject bounds all of them together.
	MaxProject = 10 << 20
	// MaxFiles bounds how many files one project reads.
	MaxFiles = 500
	// MaxBindEntries and MaxBindBytes bound a folder of the repository that is mounted.
	MaxBindEntries = 20_000
	MaxBindBytes   = 256 << 20
)

var (
	errOutside = errors.New("leaves the repository")
	errLimit   = errors.New("over the limit")
)

// repository reads below one folder. os.Root keeps every path and every symbolic link
// inside, also while somebody changes the tree.
type repository struct {
	root  *os.Root
	bytes int64
	files int
	seen  map[string][]byte
}

func openRepository(dir string) (*repository, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("open repository %q: not an absolute path", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	return &repository{root: root, seen: map[string][]byte{}}, nil
}

// inside cleans a path that is relative to the root. The error says why it is refused.
func inside(name string) (string, error) {
	if path.IsAbs(name) || filepath.IsAbs(name) {
		return "", fmt.Errorf("%s is an absolute path: only files of the repository are read", name)
	}
	if strings.ContainsRune(name, 0) {
		return "", errors.New("a path can't hold a NUL character")
	}
	clean := path.Clean(name)
	if !filepath.IsLocal(clean) {
		return "", fmt.Errorf("%s %w", name, errOutside)
	}
	return clean, nil
}

// file returns the content of a regular file.
func (r *repository) file(name string) ([]byte, error) {
	clean, err := inside(name)
	if err != nil {
		return nil, err
	}
	if data, ok := r.seen[clean]; ok {
		return data, nil
	}
	info, err := r.stat(clean)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", clean)
	}
	data, err := r.read(clean)
	if err != nil {
		return nil, err
	}
	r.seen[clean] = data
	return data, nil
}

func (r *repository) read(clean string) ([]byte, error) {
	if r.files++; r.files > MaxFiles {
		return nil, fmt.Errorf("%s: %w of %d files", clean, errLimit, MaxFiles)
	}
	f, err := r.root.Open(clean)
	if err != nil {
		return nil, reason(clean, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, reason(clean, err)
	}
	if r.bytes += int64(len(data)); len(data) > MaxFile {
		return nil, fmt.Errorf("%s: %w of %d bytes", clean, errLimit, MaxFile)
	}
	if r.bytes > MaxProject {
		return nil, fmt.Errorf("%s: %w of %d bytes for all files of a project", clean, errLimit, MaxProject)
	}
	return data, nil
}

// stat follows symbolic links inside of the repository.
func (r *repository) stat(clean string) (fs.FileInfo, error) {
	info, err := r.root.Stat(clean)
	if err != nil {
		return nil, reason(clean, err)
	}
	return info, nil
}

// reason drops the machine's own paths from an error and names an escape as such.
func reason(name string, err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		err = at.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent(name)
	case strings.Contains(err.Error(), "escapes"):
		return fmt.Errorf("%s %w through a symbolic link", name, errOutside)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// absent is the error for a file that is not there; it is an fs.ErrNotExist.
type absent string

func (a absent) Error() string { return string(a) + " is not in the repository" }

func (a absent) Is(target error) bool { return target == fs.ErrNotExist }

// digest is "sha256:<hex>" over the names, modes and content of a file or folder. Modes
// count as git has them (executable or not), so that two checkouts agree.
func (r *repository) digest(ctx context.Context, clean string) (string, error) {
	info, err := r.stat(clean)
	if err != nil {
		return "", err
	}
	d := &digester{ctx: ctx, repository: r, sum: sha256.New()}
	if !info.IsDir() {
		err = d.entry(clean, ".", info)
	} else {
		err = d.folder(clean)
	}
	if err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(d.sum.Sum(nil)), nil
}

type digester struct {
	ctx        context.Context //nolint:containedctx // lives for one call of digest
	repository *repository
	sum        hash.Hash
	entries    int
	bytes      int64
}

func (d *digester) folder(clean string) error {
	sub, err := d.repository.root.OpenRoot(clean)
	if err != nil {
		return reason(clean, err)
	}
	defer sub.Close()
	return fs.WalkDir(sub.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return reason(path.Join(clean, name), err)
		}
		info, err := e.Info()
		if err != nil {
			return reason(path.Join(clean, name), err)
		}
		return d.entry(path.Join(clean, name), name, info)
	})
}

func (d *digester) entry(full, name string, info fs.FileInfo) error {
	if err := d.ctx.Err(); err != nil {
		return fmt.Errorf("read %s: %w", full, err)
	}
	if d.entries++; d.entries > MaxBindEntries {
		return fmt.Errorf("%s: %w of %d files in a mounted folder", full, errLimit, MaxBindEntries)
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		fmt.Fprintf(d.sum, "dir %q\n", name)
		return nil
	case mode&fs.ModeSymlink != 0:
		return d.link(full, name)
	case mode.IsRegular():
		return d.content(full, name, mode&0o111 != 0)
	}
	return fmt.Errorf("%s is neither file, folder nor symbolic link", full)
}

// link refuses what leads out; a dangling link inside is kept as it is.
func (d *digester) link(full, name string) error {
	target, err := d.repository.root.Readlink(full)
	if err != nil {
		return reason(full, err)
	}
	if _, err := d.repository.stat(full); errors.Is(err, errOutside) {
		return err
	}
	fmt.Fprintf(d.sum, "link %q %q\n", name, target)
	return nil
}

func (d *digester) content(full, name string, executable bool) error {
	f, err := d.repository.root.Open(full)
	if err != nil {
		return reason(full, err)
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, MaxBindBytes-d.bytes+1))
	if err != nil {
		return reason(full, err)
	}
	if d.bytes += n; d.bytes > MaxBindBytes {
		return fmt.Errorf("%s: %w of %d bytes in a mounted folder", full, errLimit, MaxBindBytes)
	}
	fmt.Fprintf(d.sum, "file %q %t %x\n", name, executable, sum.Sum(nil))
	return nil
}
