package desired

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/compose"
)

// Slicer makes the slices of many nodes of one tree. It reads every file once, whichever
// number of nodes needs it, and must not outlive a change of the tree. Safe for concurrent
// use.
type Slicer struct {
	tree *tree

	mu      sync.Mutex
	files   map[string]File
	folders map[string]*sliceFolder
	stacks  map[string]sliceStack
	visits  map[string][]string
	fleet   *fleet
	broken  error
}

// sliceFolder is all below one folder.
type sliceFolder struct {
	files []File
	bytes int64
	// linked says that a symbolic link was left out: only what Load looks at counts.
	linked bool
}

// sliceStack is a stack file that was read, with what is known of its Compose files.
type sliceStack struct {
	*stack

	reach reach
}

// NewSlicer opens the repository tree at root, an absolute folder.
func NewSlicer(root string) (*Slicer, error) {
	t, err := openRepository(root)
	if err != nil {
		return nil, err
	}
	t.load = new(compose.Loader).Load
	return &Slicer{
		tree: t, files: map[string]File{}, folders: map[string]*sliceFolder{},
		stacks: map[string]sliceStack{}, visits: map[string][]string{},
	}, nil
}

// Close closes the tree's folder.
func (s *Slicer) Close() error { return s.tree.close() }

// Read returns the content of a file of a slice of this tree. The error says when it is no
// longer what the slice lists.
func (s *Slicer) Read(file File) ([]byte, error) {
	in, err := s.tree.root.Open(file.Path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file.Path, plainError(err))
	}
	defer in.Close()                  //nolint:errcheck // nothing was written
	data := make([]byte, file.Size+1) // one more than it should have, and no buffer that grows: the controller keeps it
	n, err := io.ReadFull(in, data)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read %s: %w", file.Path, plainError(err))
	}
	data = data[:n]
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != file.SHA256 {
		return nil, fmt.Errorf("read %s: the tree has changed since it was sliced", file.Path)
	}
	return data, nil
}

func (s *Slicer) readFleet() (*fleet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fleet != nil || s.broken != nil {
		return s.fleet, s.broken
	}
	r := &report{}
	f, ok := s.tree.readFleet(r)
	if !ok {
		s.broken = &Error{Problems: sorted(r.problems)}
		return nil, s.broken
	}
	s.fleet = f
	return f, nil
}

// stack returns the stack's file with its reach; no stack when it can't be read.
func (s *Slicer) stack(name string, folder *sliceFolder) sliceStack {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.stacks[name]
	if !ok {
		if read, readable := s.tree.readStack(name, &report{}); readable {
			known = sliceStack{stack: read, reach: s.tree.reachOf(read)}
			// A link may lead anywhere.
			if folder.linked {
				known.reach = max(known.reach, reachFixed)
			}
		}
		s.stacks[name] = known
	}
	return known
}

// visited returns what a Load of one stack on a node looks at. Problems are for Load and
// Validate to tell.
func (s *Slicer) visited(ctx context.Context, f *fleet, n *node, st sliceStack) []string {
	if st.stack == nil || st.reach == reachFolder {
		return nil
	}
	scale := map[string]int{}
	for pool := range st.Spec.Pools {
		if size, ok := n.Spec.Scale[pool]; ok {
			scale[pool] = size
		}
	}
	key := fmt.Sprint(st.name(), scale) // fmt sorts maps
	if st.reach == reachFixed {
		s.mu.Lock()
		known, ok := s.visits[key]
		s.mu.Unlock()
		if ok {
			return known
		}
	}
	names, complete := s.tree.visited(ctx, f, n, st.stack)
	if st.reach == reachFixed && complete {
		s.mu.Lock()
		s.visits[key] = names
		s.mu.Unlock()
	}
	return names
}

func (t *tree) visited(ctx context.Context, f *fleet, n *node, st *stack) (names []string, complete bool) {
	seen, r := map[string]bool{}, &report{}
	// Slices are made at the same time, and building one reports to its documents.
	fleetCopy, nodeCopy, stackCopy := *f, *n, *st
	fleetCopy.doc, nodeCopy.doc, stackCopy.doc = f.doc.reportTo(r), n.doc.reportTo(r), st.doc.reportTo(r)
	nodeCopy.Spec.Stacks = slices.DeleteFunc(slices.Clone(n.Spec.Stacks), func(p api.NodeStack) bool { return p.Name != st.name() })
	build := &nodeBuild{
		tree: t, fleet: &fleetCopy, node: &nodeCopy, stacks: map[string]*stack{st.name(): &stackCopy}, report: r,
		visit: func(name string) { seen[name] = true },
	}
	build.build(ctx)
	return keysOf(seen), len(r.problems) == 0 && ctx.Err() == nil
}

// reportTo returns a copy of a document whose problems go elsewhere.
func (d *document) reportTo(r *report) *document {
	return &document{file: d.file, places: d.places, report: r}
}

// at returns the file at name, or all files below the folder at name.
func (s *Slicer) at(name string) ([]File, error) {
	if s.tree.isFolder(name) {
		folder, err := s.folder(name)
		if err != nil {
			return nil, err
		}
		return folder.files, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	file, err := s.file(name)
	return []File{file}, err
}

// folder lists and hashes a folder once.
func (s *Slicer) folder(name string) (*sliceFolder, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.folders[name]; ok {
		return known, nil
	}
	f := &sliceFolder{}
	if err := s.walk(name, f); err != nil {
		return nil, err
	}
	s.folders[name] = f
	return f, nil
}

func (s *Slicer) walk(name string, into *sliceFolder) error {
	entries, err := fs.ReadDir(s.tree.root.FS(), name)
	if err != nil {
		return placed(name, plainError(err))
	}
	for _, entry := range entries {
		below := path.Join(name, entry.Name())
		switch {
		case entry.IsDir():
			if err := s.walk(below, into); err != nil {
				return err
			}
			continue
		case entry.Type() == fs.ModeSymlink:
			into.linked = true
			continue
		case !entry.Type().IsRegular():
			return placed(below, errors.New("is neither a regular file nor a folder"))
		}
		file, err := s.file(below)
		if err != nil {
			return err
		}
		into.bytes += file.Size
		into.files = append(into.files, file)
		if len(into.files) > MaxSliceFiles || into.bytes > MaxSliceBytes {
			return placed(name, fmt.Errorf("has more than %d files or %d MiB: keep in the repository only what the stacks use", MaxSliceFiles, MaxSliceBytes>>20))
		}
	}
	return nil
}

// file hashes a file once. Called with mu held.
func (s *Slicer) file(name string) (File, error) {
	if known, ok := s.files[name]; ok {
		return known, nil
	}
	file, err := s.tree.hash(name)
	if err != nil {
		return File{}, placed(name, err)
	}
	s.files[name] = file
	return file, nil
}

func (t *tree) hash(name string) (File, error) {
	info, err := t.root.Stat(name)
	if err != nil {
		return File{}, plainError(err)
	}
	if !info.Mode().IsRegular() {
		return File{}, errors.New("is not a regular file")
	}
	in, err := t.root.Open(name)
	if err != nil {
		return File{}, plainError(err)
	}
	defer in.Close() //nolint:errcheck // nothing was written
	return hashFile(name, info, in)
}

func hashFile(name string, info fs.FileInfo, in *os.File) (File, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(in, MaxSliceBytes+1))
	switch {
	case err != nil:
		return File{}, plainError(err)
	case n > MaxSliceBytes:
		return File{}, fmt.Errorf("is larger than %d MiB, the limit of a slice", MaxSliceBytes>>20)
	}
	file := File{Path: name, Mode: 0o644, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}
	if info.Mode()&0o111 != 0 {
		file.Mode = 0o755
	}
	return file, nil
}

// placed gives an error about a path the form that all problems have.
func placed(name string, err error) error {
	return &Error{Problems: []Problem{{File: name, Line: 1, Column: 1, Message: err.Error()}}}
}
