package desired

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
)

// Limits of one slice. They are those of a whole tree (pkg/source), so that what fits into a
// tree in git mode fits into a slice.
const (
	// MaxSliceFiles bounds the number of files.
	MaxSliceFiles = 10_000
	// MaxSliceBytes bounds the sum of their sizes, in bytes.
	MaxSliceBytes = 64 << 20
)

// sliceVersion is hashed first: a change of the manifest's form must change every digest.
const sliceVersion = "ktrdr-slice-v1\n"

// File is one regular file of a slice.
type File struct {
	// Path is relative to the repository's root and has the form of fs.ValidPath. Where a
	// symbolic link leads to a file, this is the link's path: a slice has no links.
	Path string
	// Mode is 0755 for executable files and 0644 for all others.
	Mode fs.FileMode
	// Size of the content, in bytes.
	Size int64
	// SHA256 of the content, in lower-case hex.
	SHA256 string
}

// Slice lists the files of a repository that concern one node. Load on a tree of these files
// alone returns for this node what it returns on the whole repository.
type Slice struct {
	Node string
	// Digest is SliceDigest(Files).
	Digest string
	// Files are sorted by path.
	Files []File
}

// SliceDigest returns "sha256:<hex>" over path, mode and SHA-256 of each file, whatever
// their order. The agent computes it again over what it was sent.
func SliceDigest(files []File) string {
	ordered := slices.SortedFunc(slices.Values(files), byPath)
	sum := sha256.New()
	sum.Write([]byte(sliceVersion))
	var line []byte
	for _, file := range ordered {
		line = binary.BigEndian.AppendUint32(line[:0], uint32(file.Mode.Perm()))
		for _, text := range []string{file.Path, file.SHA256} {
			line = binary.BigEndian.AppendUint64(line, uint64(len(text)))
			line = append(line, text...)
		}
		sum.Write(line)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

func byPath(a, b File) int { return cmp.Compare(a.Path, b.Path) }

// SliceOf returns the slice of one node of the repository at root. For several nodes of one
// tree use a Slicer.
func SliceOf(ctx context.Context, root, node string) (Slice, error) {
	s, err := NewSlicer(root)
	if err != nil {
		return Slice{}, err
	}
	defer s.Close() //nolint:errcheck // a folder that was only read
	return s.Slice(ctx, node)
}

// Slice returns the files that concern a node: fleet.yaml, the node's own file, all of the
// folders of its stacks, and what the Compose files of these stacks take from elsewhere in
// the repository. A bind of a folder outside of the stack brings all that is below it. An
// empty folder, which git can't hold either, is in no slice. Slice does not validate: of a
// state that Load refuses it holds what was found.
//
// The error is *Error when fleet.yaml or the node's file can't be read or the slice is over
// MaxSliceFiles or MaxSliceBytes. Safe for concurrent use.
func (s *Slicer) Slice(ctx context.Context, name string) (Slice, error) {
	if err := ctx.Err(); err != nil {
		return Slice{}, fmt.Errorf("slice desired state of node %s: %w", name, err)
	}
	if !dnsLabel.MatchString(name) {
		return Slice{}, fmt.Errorf("slice desired state: %q is not the name of a node", name)
	}
	f, err := s.readFleet()
	if err != nil {
		return Slice{}, err
	}
	r := &report{}
	n, ok := s.tree.readNode(name, r)
	if !ok {
		return Slice{}, &Error{Problems: sorted(r.problems)}
	}
	files, err := s.collect(ctx, f, n)
	if err != nil {
		return Slice{}, err
	}
	slices.SortFunc(files, byPath)
	files = slices.CompactFunc(files, func(a, b File) bool { return a.Path == b.Path })
	if err := checkSlice(n, files); err != nil {
		return Slice{}, err
	}
	return Slice{Node: name, Digest: SliceDigest(files), Files: files}, nil
}

// checkSlice enforces the limits on what several folders are together.
func checkSlice(n *node, files []File) error {
	var size int64
	for _, file := range files {
		size += file.Size
	}
	at := n.doc.at("spec.stacks")
	switch {
	case len(files) > MaxSliceFiles:
		at.Message = fmt.Sprintf("the stacks of this node have %d files, more than %d: keep in their folders only what they use", len(files), MaxSliceFiles)
	case size > MaxSliceBytes:
		at.Message = fmt.Sprintf("the stacks of this node have %d MiB of files, more than %d: put large data into an image or a volume", size>>20, MaxSliceBytes>>20)
	default:
		return nil
	}
	return &Error{Problems: []Problem{at}}
}

// collect gathers the files, unsorted and with repetitions.
func (s *Slicer) collect(ctx context.Context, f *fleet, n *node) ([]File, error) {
	names := []string{fleetFile, n.doc.file}
	var files []File
	for _, name := range n.stackNames() {
		if !dnsLabel.MatchString(name) || !s.tree.isFolder(stacksFolder+"/"+name) {
			continue
		}
		folder, err := s.folder(stacksFolder + "/" + name)
		if err != nil {
			return nil, err
		}
		files = append(files, folder.files...)
		names = append(names, s.visited(ctx, f, n, s.stack(name, folder))...)
	}
	for _, name := range names {
		more, err := s.at(name)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return files, ctx.Err()
}
