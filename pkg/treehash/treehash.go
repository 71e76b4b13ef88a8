package treehash

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Limits of what one digest covers.
const (
	// MaxBytes is the largest sum of file sizes, in bytes.
	MaxBytes = 64 << 20
	// MaxFiles is the largest number of files and folders.
	MaxFiles = 10_000
)

// Prefix begins every digest.
const Prefix = "sha256:"

// ErrTooLarge says that a folder is beyond MaxBytes or MaxFiles; ErrKind that something is
// neither a regular file nor a folder (a symbolic link, a device, a socket).
var (
	ErrTooLarge = errors.New("too large")
	ErrKind     = errors.New("neither a regular file nor a folder")
)

// The version is hashed first: a change of the format below must change every digest.
const version = "ktrdr-tree-v1\n"

const (
	kindFile       = 'f'
	kindExecutable = 'x'
	kindFolder     = 'd'
)

// RepoDigest returns "sha256:<hex>" of the file or folder at name, which has the form that
// fs.ValidPath asks for. It covers the kind, the path below name, the executable bit and
// the content of everything at and below name, in lexical order; other permission bits,
// times, owners and the last element of name itself are not covered. Empty folders count.
//
// A symbolic link anywhere below name is refused (ErrKind), also as an element of name
// where fsys can tell (fs.ReadLinkFS). Errors: ErrTooLarge, ErrKind, those of fsys.
// Safe for concurrent use when fsys is.
func RepoDigest(fsys fs.FS, name string) (string, error) {
	if err := plainPath(fsys, name); err != nil {
		return "", err
	}
	w := walker{fsys: fsys, root: name, sum: sha256.New()}
	w.sum.Write([]byte(version))
	if err := fs.WalkDir(fsys, name, w.visit); err != nil {
		return "", fmt.Errorf("digest %s: %w", name, err)
	}
	return Prefix + hex.EncodeToString(w.sum.Sum(nil)), nil
}

// plainPath refuses symbolic links among the elements of name: they would make two
// names of one thing, and the file system of the copy has no such links.
func plainPath(fsys fs.FS, name string) error {
	if !fs.ValidPath(name) {
		return fmt.Errorf("digest %q: %w", name, fs.ErrInvalid)
	}
	for at := name; at != "."; at = path.Dir(at) {
		info, err := fs.Lstat(fsys, at)
		if err != nil {
			return fmt.Errorf("digest %s: %w", name, err)
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return fmt.Errorf("digest %s: %s is a symbolic link: %w", name, at, ErrKind)
		}
	}
	return nil
}

type walker struct {
	fsys  fs.FS
	root  string
	sum   hash.Hash
	files int
	bytes int64
}

func (w *walker) visit(name string, entry fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if w.files++; w.files > MaxFiles {
		return fmt.Errorf("more than %d files and folders: %w", MaxFiles, ErrTooLarge)
	}
	if entry.IsDir() {
		w.header(kindFolder, name)
		return nil
	}
	if !entry.Type().IsRegular() {
		return fmt.Errorf("%s: %w", name, ErrKind)
	}
	return w.file(name)
}

// header writes kind and path so that no two trees give the same bytes: the length
// comes before the path.
func (w *walker) header(kind byte, name string) {
	below := strings.TrimPrefix(strings.TrimPrefix(name, w.root), "/")
	if w.root == "." && name != "." {
		below = name
	}
	line := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(below))) //nolint:gosec // a path is shorter than 4 GiB
	w.sum.Write(append(line, below...))
}

func (w *walker) file(name string) error {
	file, err := w.fsys.Open(name)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", name, ErrKind)
	}
	kind := byte(kindFile)
	if info.Mode()&0o111 != 0 {
		kind = kindExecutable
	}
	w.header(kind, name)
	content := sha256.New()
	n, err := io.Copy(content, io.LimitReader(file, MaxBytes-w.bytes+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if w.bytes += n; w.bytes > MaxBytes {
		return fmt.Errorf("more than %d MiB: %w", MaxBytes>>20, ErrTooLarge)
	}
	w.sum.Write(content.Sum(nil))
	return nil
}
