package slicing

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

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
	source source.Tree
	slicer *desired.Slicer
	// cutting bounds how many slices are made at the same time: it is work for processors.
	cutting chan struct{}

	mu    sync.Mutex
	cuts  map[string]*Cut
	kept  map[string][]byte
	bytes int
}

// Open prepares a tree for slicing. The caller closes it; cuts of it can't be read then.
func Open(tree source.Tree) (*Tree, error) {
	slicer, err := desired.NewSlicer(tree.Dir)
	if err != nil {
		return nil, fmt.Errorf("slice revision %s: %w", tree.Revision.ID, err)
	}
	return &Tree{source: tree, slicer: slicer, cutting: make(chan struct{}, 2), cuts: map[string]*Cut{}, kept: map[string][]byte{}}, nil
}

// Source is what the tree was opened with.
func (t *Tree) Source() source.Tree { return t.source }

// Close closes the folder: cuts can't be read any more.
func (t *Tree) Close() error { return t.slicer.Close() }

// release frees memory. The folder stays open while a session holds a cut, and is closed by
// os.Root's finalizer after that.
func (t *Tree) release() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept, t.bytes = map[string][]byte{}, 0
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
		return nil, fmt.Errorf("slice revision %s for node %s: %w", t.source.Revision.ID, node, context.Cause(ctx))
	}
	if cut := t.known(node); cut != nil {
		return cut, nil
	}
	slice, err := t.slicer.Slice(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("slice revision %s for node %s: %w", t.source.Revision.ID, node, err)
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

func (t *Tree) known(node string) *Cut {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cuts[node]
}

// part returns size bytes of a file from an offset on. Small files come from memory.
func (t *Tree) part(file desired.File, offset, size int64) ([]byte, error) {
	if file.Size <= smallFile {
		content, err := t.small(file)
		if err != nil {
			return nil, err
		}
		return content[offset : offset+size], nil
	}
	return t.large(file, offset, size)
}

func (t *Tree) small(file desired.File) ([]byte, error) {
	t.mu.Lock()
	content, ok := t.kept[file.SHA256]
	t.mu.Unlock()
	if ok {
		return content, nil
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
func (t *Tree) large(file desired.File, offset, size int64) ([]byte, error) {
	in, err := os.OpenInRoot(t.source.Dir, file.Path)
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
