package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// treeName is what a folder under trees/ may be called: an ID, and for git with a sub-folder a hash of its path.
var treeName = regexp.MustCompile(`^(dir-[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{64})(-[0-9a-f]{16})?$`)

// trees keeps the copies of revisions of one source:
//
//	<cache>/trees/<name>/         the copy
//	<cache>/records/<name>.json   written last: the tree is complete, and has this digest
//	<cache>/tmp/                  what is being built or removed; emptied at the start
type trees struct {
	cache  string
	limits Limits

	mu      sync.Mutex
	current string
	seen    map[string]fingerprint
}

// record says what a tree has to look like. It stands outside of the tree.
type record struct {
	Digest   string   `json:"digest"`
	Revision Revision `json:"revision"`
}

// openTrees creates the folders and throws away what a crash left half done.
func openTrees(cache string, limits Limits) (*trees, error) {
	t := &trees{cache: cache, limits: limits, seen: map[string]fingerprint{}}
	if err := os.RemoveAll(t.path("tmp")); err != nil {
		return nil, err
	}
	// Others may pass through to a tree that they were given, and may not list what else there is.
	for dir, mode := range map[string]fs.FileMode{"trees": 0o711, "records": 0o700, "tmp": 0o700} {
		if err := os.MkdirAll(t.path(dir), mode); err != nil {
			return nil, err
		}
	}
	return t, os.Chmod(cache, 0o711) //nolint:gosec // a tree's readers pass through; listing stays forbidden
}

func (t *trees) path(parts ...string) string {
	return filepath.Join(append([]string{t.cache}, parts...)...)
}

// get returns the tree called name when it is on disk and matches its record, and makes it the current one.
func (t *trees) get(name string) (Tree, bool) {
	tree, ok := t.peek(name)
	if ok {
		t.mu.Lock()
		t.current = name
		t.mu.Unlock()
	}
	return tree, ok
}

// peek is get without making the tree the current one.
func (t *trees) peek(name string) (Tree, bool) {
	if !treeName.MatchString(name) {
		return Tree{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	rec, err := t.record(name)
	if err != nil {
		return Tree{}, false
	}
	dir := t.path("trees", name)
	if !t.matches(name, rec.Digest) {
		return Tree{}, false
	}
	return Tree{Revision: rec.Revision, Dir: dir}, true
}

func (t *trees) record(name string) (record, error) {
	var rec record
	f, err := os.Open(t.path("records", name+".json"))
	if err != nil {
		return rec, err
	}
	defer func() { _ = f.Close() }()
	err = json.NewDecoder(io.LimitReader(f, 64<<10)).Decode(&rec)
	return rec, err
}

// matches reads the tree only when stat says that it may differ from what was verified before. Called with mu held.
func (t *trees) matches(name, digest string) bool {
	root, err := os.OpenRoot(t.path("trees", name))
	if err != nil {
		return false
	}
	defer func() { _ = root.Close() }()
	limits := t.limits
	limits.MaxFiles++ // the tree's own folder counts in a fingerprint
	now, settled := stat(root, limits, nil)
	if last, ok := t.seen[name]; ok && settled && now == last {
		return true
	}
	delete(t.seen, name)
	m := &manifest{limits: t.limits}
	w := walker{ctx: context.Background(), from: root, into: m, mode: asIs}
	if w.walk() != nil || m.digest() != digest {
		return false
	}
	if settled {
		t.seen[name] = now
	}
	return true
}

// asIs keeps all mode bits, so that a changed permission is noticed too; of links the bits mean nothing.
func asIs(mode fs.FileMode) fs.FileMode {
	if mode&fs.ModeSymlink != 0 {
		return fs.ModeSymlink
	}
	return mode
}

// build calls fill with an empty manifest that writes to disk, and turns the result into the tree called name. It
// replaces a tree of that name. When fill fails, nothing changes.
func (t *trees) build(name string, fill func(*manifest) (Revision, error)) (Tree, error) {
	tmp, err := os.MkdirTemp(t.path("tmp"), "new-")
	if err != nil {
		return Tree{}, err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := os.Chmod(tmp, 0o755); err != nil { //nolint:gosec // containers of any user read a tree
		return Tree{}, err
	}
	root, err := os.OpenRoot(tmp)
	if err != nil {
		return Tree{}, err
	}
	defer func() { _ = root.Close() }()
	m := &manifest{root: root, limits: t.limits}
	rev, err := fill(m)
	if err != nil {
		return Tree{}, err
	}
	// What a later process reads back has to be equal, with ==, to what this one returns.
	rev.Time = rev.Time.UTC().Round(0)
	return t.adopt(name, tmp, record{Digest: m.digest(), Revision: rev})
}

// adopt moves the finished folder tmp to its place. The record goes away before the old tree and comes after the
// new one, so that at no moment a record stands for a tree it doesn't describe. A tree that is there already and is
// the same stays: somebody who was faster may be reading it.
func (t *trees) adopt(name, tmp string, rec record) (Tree, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if there, err := t.record(name); err == nil && there.Digest == rec.Digest && t.matches(name, rec.Digest) {
		t.current = name
		return Tree{Revision: rec.Revision, Dir: t.path("trees", name)}, nil
	}
	if err := t.forget(name); err != nil {
		return Tree{}, err
	}
	dir := t.path("trees", name)
	if err := swap(tmp, dir); err != nil {
		return Tree{}, err
	}
	if err := t.write(name, rec); err != nil {
		return Tree{}, err
	}
	t.current = name
	return Tree{Revision: rec.Revision, Dir: dir}, nil
}

// remove takes one tree away, the current one too.
func (t *trees) remove(name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == name {
		t.current = ""
	}
	return errors.Join(t.forget(name), os.RemoveAll(t.path("trees", name)))
}

// forget removes the record only.
func (t *trees) forget(name string) error {
	delete(t.seen, name)
	if err := os.Remove(t.path("records", name+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (t *trees) write(name string, rec record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	tmp := t.path("tmp", name+".json")
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, t.path("records", name+".json"))
}

// prune removes all trees but those whose name is in keep and the current one.
func (t *trees) prune(keep []string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	keep = append(slices.Clone(keep), t.current)
	var errs []error
	for _, folder := range []string{"trees", "records"} {
		list, err := os.ReadDir(t.path(folder))
		if err != nil {
			errs = append(errs, err)
		}
		for _, d := range list {
			name := strings.TrimSuffix(d.Name(), ".json")
			if slices.Contains(keep, name) {
				continue
			}
			errs = append(errs, t.forget(name))
			if err := os.RemoveAll(t.path(folder, d.Name())); err != nil {
				errs = append(errs, fmt.Errorf("remove tree %s: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}
