package state

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/treehash"
)

// Files keeps read-only copies of repository files and folders for containers to bind:
// <dir>/<hex of the digest>/<base name>. A copy never changes under a running container,
// whatever happens to the repository. All methods are safe for concurrent use; copies of
// one digest are made by one caller at a time.
type Files struct {
	dir string
	mu  sync.Mutex
}

// NewFiles keeps copies below dir, an absolute path, which is made on first use.
func NewFiles(dir string) *Files { return &Files{dir: dir} }

const (
	fileMode       = 0o444
	executableMode = 0o555
	folderMode     = 0o555
	buildMode      = 0o755
)

// Materialise returns the host path of a copy of src, whose path is relative to root. A
// copy that is there is compared with what was noted when it was made (names, sizes,
// modes, times), not read again. A new one is complete, synced and of the wanted digest
// before it gets its name. Errors: ErrDigest when the repository has something else,
// ErrDiskFull, those of treehash and of the file system.
func (f *Files) Materialise(ctx context.Context, root string, src api.RepoSource) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hostPath, err := f.materialise(ctx, root, src)
	if err == nil {
		return hostPath, nil
	}
	e := failed("copy repository file "+src.Path, err)
	switch {
	case errors.Is(err, ErrDigest), errors.Is(err, treehash.ErrKind), errors.Is(err, treehash.ErrTooLarge), errors.Is(err, fs.ErrInvalid):
		e.Class, e.Reason = api.Terminal, api.ReasonInvalid
	case errors.Is(err, fs.ErrNotExist):
		e.Reason = api.ReasonSourceFailed
	}
	return "", e
}

func (f *Files) materialise(ctx context.Context, root string, src api.RepoSource) (string, error) {
	at, err := f.place(src)
	if err != nil {
		return "", err
	}
	if f.intact(at) || f.mended(at, src.Digest) {
		return at.host, nil
	}
	if err := f.folders(at); err != nil {
		return "", err
	}
	build, err := os.MkdirTemp(f.dir, ".new-")
	if err != nil {
		return "", err
	}
	defer func() { _ = removeAll(build) }() // what is left is Prune's
	fresh := filepath.Join(build, at.base)
	c := copier{to: fresh}
	if err := c.copy(ctx, root, src.Path); err != nil {
		return "", err
	}
	if err := verify(build, at.base, src.Digest); err != nil {
		return "", err
	}
	return at.host, f.publish(fresh, at)
}

// folders makes the folders above a copy. Containers of any user read below, whatever
// the agent's umask.
func (f *Files) folders(at place) error {
	above := filepath.Dir(at.host)
	if err := os.MkdirAll(above, buildMode); err != nil { //nolint:gosec // see above
		return err
	}
	return errors.Join(os.Chmod(f.dir, buildMode), os.Chmod(above, buildMode)) //nolint:gosec // see above
}

// place is where a copy and the note about it lie.
type place struct{ base, host, note string }

func (f *Files) place(src api.RepoSource) (place, error) {
	digest, found := strings.CutPrefix(src.Digest, treehash.Prefix)
	if raw, err := hex.DecodeString(digest); !found || err != nil || len(raw) != 32 || strings.ToLower(digest) != digest {
		return place{}, fmt.Errorf("digest %q: %w", src.Digest, fs.ErrInvalid)
	}
	base := path.Base(src.Path)
	if !fs.ValidPath(src.Path) {
		return place{}, fmt.Errorf("path %q: %w", src.Path, fs.ErrInvalid)
	}
	if base == "." {
		base = "root"
	}
	return place{
		base: base,
		host: filepath.Join(f.dir, digest, base),
		note: filepath.Join(f.dir, ".notes", digest, base),
	}, nil
}

// verify digests the copy itself: what the containers get is what is checked.
func verify(dir, base, want string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing was written
	got, err := treehash.RepoDigest(root.FS(), base)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%w: have %s, want %s", ErrDigest, got, want)
	}
	return nil
}

// publish gives the copy its name. A damaged one that is in the way is set aside, not
// emptied: containers that run have it bound.
func (f *Files) publish(fresh string, at place) error {
	if _, err := os.Lstat(at.host); err == nil {
		aside, err := os.MkdirTemp(f.dir, ".old-")
		if err != nil {
			return err
		}
		if err := move(at.host, filepath.Join(aside, at.base)); err != nil {
			return err
		}
	}
	if err := move(fresh, at.host); err != nil {
		return err
	}
	return errors.Join(f.notice(at), syncDir(filepath.Dir(at.host)), syncDir(f.dir))
}

// move renames a file or folder. Who is not root can move a folder only while it may write
// into it, because ".." changes.
func move(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return os.Rename(from, to)
	}
	if err := os.Chmod(from, buildMode); err != nil { //nolint:gosec // for the moment of the move
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return os.Chmod(to, folderMode) //nolint:gosec // containers of any user read it
}

// Prune removes the copies whose digest ("sha256:<hex>", as in api.RepoSource) is not in
// keep, and what earlier calls left unfinished. The caller keeps the digests of every
// container that exists, not only of wanted ones.
func (f *Files) Prune(keep map[string]bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries, err := os.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failed("prune copies of repository files", err)
	}
	var failures []error
	for _, entry := range entries {
		name := entry.Name()
		if name == ".notes" || keep[treehash.Prefix+name] {
			continue
		}
		failures = append(failures, removeAll(filepath.Join(f.dir, name)), removeAll(filepath.Join(f.dir, ".notes", name)))
	}
	if err := errors.Join(failures...); err != nil {
		return failed("prune copies of repository files", err)
	}
	return nil
}

// removeAll removes folders without write permission too.
func removeAll(name string) error {
	_ = filepath.WalkDir(name, func(at string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return os.Chmod(at, 0o700) //nolint:gosec // it is about to go
		}
		return nil
	})
	return os.RemoveAll(name)
}
