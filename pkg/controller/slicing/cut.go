package slicing

import (
	"context"
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/desired"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// maxContents of one message, and maxChunk of one part, in bytes, by the contract.
	maxContents = 3 << 20
	maxChunk    = 1 << 20
	// maxMessage leaves room below the 4 MiB of gRPC for what is around contents.
	maxMessage = 4<<20 - 64<<10
)

// Sum is the SHA-256 of a content.
type Sum [sha256.Size]byte

// Cut is the slice of one node. It is immutable, and small: there is one for each node and
// revision. Files are those of the tree, which most nodes share.
type Cut struct {
	Node     string
	Revision string
	Digest   string
	files    []*file
	tree     *Tree
}

// file is one of a tree, with its sum as bytes.
type file struct {
	desired.File

	sum Sum
}

func newCut(t *Tree, slice desired.Slice) (*Cut, error) {
	c := &Cut{Node: slice.Node, Revision: t.at.Revision.ID, Digest: slice.Digest, files: make([]*file, 0, len(slice.Files)), tree: t}
	for _, each := range slice.Files {
		known, err := t.file(each)
		if err != nil {
			return nil, fmt.Errorf("slice revision %s: %w", c.Revision, err)
		}
		c.files = append(c.files, known)
	}
	return c, nil
}

// contents are the files by their content. A nil cut has none.
func (c *Cut) contents() map[Sum]*file {
	if c == nil {
		return nil
	}
	out := make(map[Sum]*file, len(c.files))
	for _, f := range c.files {
		out[f.sum] = f
	}
	return out
}

func (c *Cut) manifest() []*ktrdrv1.SliceFile {
	out := make([]*ktrdrv1.SliceFile, 0, len(c.files))
	for _, f := range c.files {
		out = append(out, &ktrdrv1.SliceFile{Path: f.Path, Mode: uint32(f.Mode.Perm()), Size: f.Size, Sha256: f.sum[:]})
	}
	return out
}

// Message is the slice with the contents that the node lacks, as far as they fit; the node
// asks for the others. before is what the node has; nil when that is not known.
func (c *Cut) Message(ctx context.Context, before *Cut) (*ktrdrv1.Slice, error) {
	r := c.tree.at.Revision
	out := &ktrdrv1.Slice{
		Revision: r.ID, Branch: r.Branch, Author: r.Author, Subject: r.Subject, Time: timestamppb.New(r.Time),
		Digest: c.Digest, Files: c.manifest(), Signer: r.Signer,
	}
	room := min(maxContents, maxMessage-proto.Size(out))
	if room < 0 {
		return nil, fmt.Errorf("send revision %s to node %s: its list of %d files does not fit into a message", c.Revision, c.Node, len(c.files))
	}
	has := before.contents()
	sent := map[Sum]bool{}
	for _, f := range c.files {
		if sent[f.sum] || has[f.sum] != nil || f.Size > maxChunk {
			continue
		}
		chunk, err := c.chunk(ctx, f, 0)
		if err != nil {
			return nil, err
		}
		size := proto.Size(chunk) + chunkOverhead
		if size > room {
			continue
		}
		sent[f.sum], room = true, room-size
		out.Contents = append(out.Contents, chunk)
	}
	return out, nil
}

// chunkOverhead is tag and length of a chunk in its message.
const chunkOverhead = 8

func (c *Cut) chunk(ctx context.Context, f *file, offset int64) (*ktrdrv1.FileChunk, error) {
	content, err := c.tree.part(ctx, f.File, offset, min(f.Size-offset, maxChunk))
	if err != nil {
		return nil, err
	}
	return &ktrdrv1.FileChunk{Sha256: f.sum[:], Offset: offset, Content: content}, nil
}

// Answer brings contents that a node asked for, one message after the other.
type Answer struct {
	cut    *Cut
	files  []*file
	offset int64
	gone   [][]byte
	ended  bool
}

// Answer prepares the contents of sums. What is not in the slice is told as gone: a node gets
// its own files only. A nil cut has none.
func (c *Cut) Answer(sums [][]byte) *Answer {
	a := &Answer{cut: c}
	seen, has := map[Sum]bool{}, c.contents()
	for _, raw := range sums {
		if len(raw) != sha256.Size || seen[Sum(raw)] {
			continue
		}
		sum := Sum(raw)
		seen[sum] = true
		if has[sum] == nil {
			a.gone = append(a.gone, raw)
			continue
		}
		a.files = append(a.files, has[sum])
	}
	return a
}

// Next returns the next message; nil after the last one, which says that it is.
func (a *Answer) Next(ctx context.Context) (*ktrdrv1.FileBatch, error) {
	if a.ended {
		return nil, nil //nolint:nilnil // the end is no error
	}
	batch := &ktrdrv1.FileBatch{Gone: a.gone}
	a.gone = nil
	room := maxContents
	for len(a.files) > 0 {
		f := a.files[0]
		if size := min(f.Size-a.offset, maxChunk); int(size) > room {
			return batch, nil
		}
		chunk, err := a.cut.chunk(ctx, f, a.offset)
		if err != nil {
			return nil, err
		}
		batch.Chunks = append(batch.Chunks, chunk)
		room -= len(chunk.GetContent())
		if a.offset += int64(len(chunk.GetContent())); a.offset >= f.Size {
			a.files, a.offset = a.files[1:], 0
		}
		// Ten thousand empty files are no content, and too much for a message all the same.
		if room -= proto.Size(chunk) - len(chunk.GetContent()); room < 0 {
			return batch, nil
		}
	}
	a.ended, batch.Last = true, true
	return batch, nil
}
