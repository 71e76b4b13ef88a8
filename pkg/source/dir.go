package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// copyAttempts is how often a folder that changes under the copy is copied before Fetch gives up. Between attempts
// there is a pause of Quiet, doubled each time.
const copyAttempts = 6

// Dir is a folder as a source.
type Dir struct {
	cfg   DirConfig
	trees *trees
	watch *watcher

	mu   sync.Mutex
	last struct {
		print fingerprint
		id    string
	}
}

// NewDir starts watching cfg.Root. A folder that can't be watched (missing, too many watches) is not an error: it is
// found out again at every Fetch, so the caller's own timer still works.
func NewDir(cfg DirConfig) (*Dir, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &Error{Reason: ReasonInvalid, Op: "configure dir source", Err: err}
	}
	cfg = cfg.withDefaults()
	op := "open dir source " + cfg.Root
	for _, p := range []*string{&cfg.Root, &cfg.CacheDir} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, during(op, err)
		}
		*p = abs
	}
	store, err := openTrees(cfg.CacheDir, cfg.Limits)
	if err != nil {
		return nil, during(op, err)
	}
	w, err := watch(cfg)
	if err != nil {
		return nil, during(op, err)
	}
	return &Dir{cfg: cfg, trees: store, watch: w}, nil
}

// Fetch copies the folder when its content is not on disk yet. A folder that changes during the copy is copied again.
func (d *Dir) Fetch(ctx context.Context, _ string) (Tree, error) {
	op := "read folder " + filepath.Join(d.cfg.Root, filepath.FromSlash(d.cfg.Path))
	d.mu.Lock()
	defer d.mu.Unlock()
	pause := d.cfg.Quiet
	for attempt := 1; ; attempt++ {
		tree, err := d.fetch(ctx)
		if ctx.Err() != nil {
			return Tree{}, &Error{Reason: ReasonCanceled, Op: op, Err: ctx.Err()}
		}
		if !errors.Is(err, errChanged) {
			return tree, during(op, err)
		}
		if attempt == copyAttempts {
			return Tree{}, &Error{Reason: ReasonChanging, Op: op, Err: fmt.Errorf("%d attempts: %w", attempt, err)}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause *= 2
		}
	}
}

func (d *Dir) fetch(ctx context.Context) (Tree, error) {
	root, err := d.open()
	if err != nil {
		return Tree{}, err
	}
	defer func() { _ = root.Close() }()
	now, settled := stat(root, d.cfg.Limits, d.cfg.ignored)
	if settled && now == d.last.print {
		if tree, ok := d.trees.get(d.last.id); ok {
			return tree, nil
		}
	}
	seen, err := d.read(ctx, root, nil)
	if err != nil {
		return Tree{}, err
	}
	id := "dir-" + seen.digest()
	tree, ok := d.trees.get(id)
	if !ok {
		tree, err = d.copy(ctx, root, id)
	}
	if err == nil && settled {
		d.last.print, d.last.id = now, id
	}
	return tree, err
}

// copy writes the tree and fails with errChanged unless it is, to the last byte, what was read just before. Both
// readings agree only when nothing was written between them, or what was written was written back.
func (d *Dir) copy(ctx context.Context, root *os.Root, id string) (Tree, error) {
	return d.trees.build(id, func(m *manifest) (Revision, error) {
		if _, err := d.read(ctx, root, m); err != nil {
			return Revision{}, err
		}
		if "dir-"+m.digest() != id {
			return Revision{}, errChanged
		}
		return Revision{ID: id, Time: m.newest}, nil
	})
}

// read walks the folder into m; a nil m is made, and writes nothing.
func (d *Dir) read(ctx context.Context, root *os.Root, m *manifest) (*manifest, error) {
	if m == nil {
		m = &manifest{limits: d.cfg.Limits}
	}
	w := walker{ctx: ctx, from: root, into: m, skip: d.cfg.ignored, mode: normalMode}
	return m, w.walk()
}

// open returns the sub-folder. A link in Path may not leave Root; Root itself may be one.
func (d *Dir) open() (*os.Root, error) {
	root, err := os.OpenRoot(d.cfg.Root)
	if err != nil {
		info, _ := os.Stat(d.cfg.Root)
		return nil, missing(err, info, d.cfg.Root)
	}
	if d.cfg.Path == "" {
		return root, nil
	}
	defer func() { _ = root.Close() }()
	sub, err := root.OpenRoot(filepath.FromSlash(d.cfg.Path))
	if err != nil {
		info, _ := root.Stat(filepath.FromSlash(d.cfg.Path))
		return nil, missing(err, info, d.cfg.Path)
	}
	return sub, nil
}

// missing says why a folder could not be opened; info is what is in its place, or nil.
func missing(err error, info fs.FileInfo, name string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(ReasonPathNotFound, "%s does not exist; create it or correct the configuration", name)
	case errors.Is(err, syscall.ENOTDIR), info != nil && !info.IsDir():
		return fail(ReasonPathNotFound, "%s is not a folder", name)
	case errors.Is(err, fs.ErrPermission):
		return err
	default:
		return fail(ReasonInvalid, "%w", err)
	}
}

// Cached implements Source.
func (d *Dir) Cached(id string) (Tree, bool) { return d.trees.peek(id) }

// Prune implements Source.
func (d *Dir) Prune(keep ...string) error {
	return during("remove old trees of "+d.cfg.Root, d.trees.prune(keep))
}

// Changes implements Source.
func (d *Dir) Changes() <-chan struct{} { return d.watch.ring }

// Early rings (one slot, no content) when the folder begins to change, Quiet or longer before Changes does. What is
// fetched then may be half of a change: it is good for work ahead, whose result is thrown away when the revision that
// is fetched after the ring of Changes is another one.
func (d *Dir) Early() <-chan struct{} { return d.watch.early }

// Close implements Source.
func (d *Dir) Close() error { return d.watch.close() }
