package compose

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

// Limits on what one Load reads.
const (
	// MaxFile bounds each file that is read into memory, in bytes.
	MaxFile = 1 << 20
	// MaxProject bounds all of them together.
	MaxProject = 10 << 20
	// MaxFiles bounds how many files one project reads.
	MaxFiles = 500
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
	visit func(name string)
}

func openRepository(dir string, visit func(name string)) (*repository, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("open repository %q: not an absolute path", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	if visit == nil {
		visit = func(string) {}
	}
	return &repository{root: root, seen: map[string][]byte{}, visit: visit}, nil
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

// stat follows symbolic links inside of the repository, and counts as a visit.
func (r *repository) stat(clean string) (fs.FileInfo, error) {
	info, err := r.look(clean)
	if err == nil {
		r.visit(clean)
	}
	return info, err
}

// look is stat for what does not matter to the result.
func (r *repository) look(clean string) (fs.FileInfo, error) {
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

// digest is the content digest of a file or folder that is bound into a container. It is
// the one by which the agent's copy is verified.
func (r *repository) digest(ctx context.Context, clean string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("read %s: %w", clean, err)
	}
	if _, err := r.stat(clean); err != nil {
		return "", err
	}
	digest, err := treehash.RepoDigest(r.root.FS(), clean)
	switch {
	case errors.Is(err, treehash.ErrKind):
		return "", fmt.Errorf("%s: only files and folders can be mounted from the repository, without symbolic links: %w", clean, err)
	case errors.Is(err, treehash.ErrTooLarge):
		return "", fmt.Errorf("%s: %w of %d files and %d MiB in a mounted folder", clean, errLimit, treehash.MaxFiles, treehash.MaxBytes>>20)
	case err != nil:
		return "", reason(clean, err)
	}
	return digest, nil
}
