package slicing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/source"
)

const (
	// smallFile is kept in memory once it was read, up to maxKept per tree, in bytes.
	smallFile = 1 << 20
	maxKept   = 32 << 20
)

// Tree is one revision with the slices that were made of it. Safe for concurrent use.
type Tree struct {
	at source.Tree
	// checkout brings the tree to disk when it is not there yet; nil when it is.
	checkout func(ctx context.Context) (source.Tree, error)
	// cutting bounds how many slices are made at the same time: it is work for processors.
	cutting chan struct{}
	// opening is held by who brings the tree to disk.
	opening sync.Mutex
	slicer  *desired.Slicer // nil until then

	mu      sync.Mutex
	cuts    map[string]*Cut
	files   map[desired.File]*file // of the cuts that are made here
	kept    map[string][]byte
	bytes   int
	outline *desired.Outline
}

// Open prepares a tree for slicing. The caller closes it; cuts of it can't be read then.
func Open(tree source.Tree) (*Tree, error) {
	slicer, err := desired.NewSlicer(tree.Dir)
	if err != nil {
		return nil, fmt.Errorf("slice revision %s: %w", tree.Revision.ID, err)
	}
	t := newTree(tree)
	t.slicer = slicer
	return t, nil
}

func newTree(at source.Tree) *Tree {
	return &Tree{at: at, cutting: make(chan struct{}, 2), cuts: map[string]*Cut{}, files: map[desired.File]*file{}, kept: map[string][]byte{}}
}

// detached is a tree with all that was made of t, small files included, without its folder.
func (t *Tree) detached(ctx context.Context) (*Tree, error) {
	if _, err := t.Outline(ctx); err != nil {
		return nil, err
	}
	t.mu.Lock()
	cuts, files := maps.Clone(t.cuts), maps.Clone(t.files)
	t.mu.Unlock()
	out := newTree(source.Tree{Revision: t.at.Revision})
	for node, cut := range cuts {
		own := *cut
		own.tree = out
		out.cuts[node] = &own
	}
	for file := range files {
		if file.Size <= smallFile {
			if _, err := t.small(ctx, file); err != nil {
				return nil, err
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	out.kept, out.bytes, out.outline = maps.Clone(t.kept), t.bytes, t.outline
	return out, nil
}

// ready brings the tree to disk if it is not there.
func (t *Tree) ready(ctx context.Context) error {
	t.opening.Lock()
	defer t.opening.Unlock()
	if t.slicer != nil {
		return nil
	}
	// Others wait for it too: it must not end because the first one went away.
	at, err := t.checkout(context.WithoutCancel(ctx))
	if err != nil {
		return fmt.Errorf("check out revision %s: %w", t.at.Revision.ID, err)
	}
	slicer, err := desired.NewSlicer(at.Dir)
	if err != nil {
		return fmt.Errorf("slice revision %s: %w", at.Revision.ID, err)
	}
	t.at.Dir, t.slicer = at.Dir, slicer
	return nil
}

// Dir is the folder of the tree, which is brought to disk if it is not there.
func (t *Tree) Dir(ctx context.Context) (string, error) {
	if err := t.ready(ctx); err != nil {
		return "", err
	}
	return t.at.Dir, nil
}

// Close closes the folder: cuts can't be read any more.
func (t *Tree) Close() error {
	t.opening.Lock()
	defer t.opening.Unlock()
	if t.slicer == nil {
		return nil
	}
	return t.slicer.Close()
}

// release frees memory. The folder stays open while a session holds a cut, and is closed by
// os.Root's finalizer after that.
func (t *Tree) release() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept, t.bytes, t.outline = map[string][]byte{}, 0, nil
}

// Rollout is what fleet.yaml says about waves.
func (t *Tree) Rollout(ctx context.Context) (api.RolloutSpec, error) {
	outline, err := t.Outline(ctx)
	if err != nil {
		return api.RolloutSpec{}, err
	}
	return outline.Fleet.Spec.Rollout, nil
}

// Outline is what the revision says about its fleet without its Compose files, read once. It
// is everybody's: not to be changed.
func (t *Tree) Outline(ctx context.Context) (*desired.Outline, error) {
	t.mu.Lock()
	known := t.outline
	t.mu.Unlock()
	if known != nil {
		return known, nil
	}
	dir, err := t.Dir(ctx)
	if err != nil {
		return nil, err
	}
	outline, err := desired.ReadOutline(ctx, dir)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outline = outline
	return outline, nil
}

// Digests returns the digest of every node's slice. All cuts are made then.
func (t *Tree) Digests(ctx context.Context) (map[string]string, error) {
	if out := t.allDigests(); out != nil {
		return out, nil
	}
	dir, err := t.Dir(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := desired.Nodes(ctx, dir)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(nodes))
	for _, node := range nodes {
		cut, err := t.Cut(ctx, node)
		if err != nil {
			return nil, err
		}
		out[node] = cut.Digest
	}
	return out, nil
}

// allDigests is Digests of a tree that was prepared: it has all cuts. nil for any other.
func (t *Tree) allDigests() map[string]string {
	if t.checkout == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[string]string, len(t.cuts))
	for node, cut := range t.cuts {
		out[node] = cut.Digest
	}
	return out
}

// Cut returns the slice of a node, made once.
func (t *Tree) Cut(ctx context.Context, node string) (*Cut, error) {
	if cut := t.known(node); cut != nil {
		return cut, nil
	}
	select {
	case t.cutting <- struct{}{}:
		defer func() { <-t.cutting }()
	case <-ctx.Done():
		return nil, fmt.Errorf("slice revision %s for node %s: %w", t.at.Revision.ID, node, context.Cause(ctx))
	}
	if cut := t.known(node); cut != nil {
		return cut, nil
	}
	if err := t.ready(ctx); err != nil {
		return nil, err
	}
	slice, err := t.slicer.Slice(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("slice revision %s for node %s: %w", t.at.Revision.ID, node, err)
	}
	cut, err := newCut(t, slice)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cuts[node] = cut
	return cut, nil
}

// file returns the tree's own copy of a file of a slice.
func (t *Tree) file(f desired.File) (*file, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.files[f]; known != nil {
		return known, nil
	}
	raw, err := hex.DecodeString(f.SHA256)
	if err != nil || len(raw) != sha256.Size {
		return nil, fmt.Errorf("%s has the digest %q", f.Path, f.SHA256)
	}
	made := &file{File: f, sum: Sum(raw)}
	t.files[f] = made
	return made, nil
}

func (t *Tree) known(node string) *Cut {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cuts[node]
}

// part returns size bytes of a file from an offset on. Small files come from memory.
func (t *Tree) part(ctx context.Context, file desired.File, offset, size int64) ([]byte, error) {
	if file.Size <= smallFile {
		content, err := t.small(ctx, file)
		if err != nil {
			return nil, err
		}
		return content[offset : offset+size], nil
	}
	return t.large(ctx, file, offset, size)
}

func (t *Tree) small(ctx context.Context, file desired.File) ([]byte, error) {
	t.mu.Lock()
	content, ok := t.kept[file.SHA256]
	t.mu.Unlock()
	if ok {
		return content, nil
	}
	if err := t.ready(ctx); err != nil {
		return nil, err
	}
	content, err := t.slicer.Read(file)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.kept[file.SHA256]; !ok && t.bytes+len(content) <= maxKept {
		t.kept[file.SHA256] = content
		t.bytes += len(content)
	}
	return content, nil
}

// large reads a part of a file in place. Whether the whole is what the slice lists is for the
// receiver to find out.
func (t *Tree) large(ctx context.Context, file desired.File, offset, size int64) ([]byte, error) {
	dir, err := t.Dir(ctx)
	if err != nil {
		return nil, err
	}
	in, err := os.OpenInRoot(dir, file.Path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file.Path, err)
	}
	defer in.Close() //nolint:errcheck // nothing was written
	content := make([]byte, size)
	if _, err := in.ReadAt(content, offset); err != nil && err != io.EOF { //nolint:errorlint // ReaderAt gives it as it is
		return nil, fmt.Errorf("read %s: %w", file.Path, err)
	}
	return content, nil
}
