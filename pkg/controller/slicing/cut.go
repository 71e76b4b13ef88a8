package slicing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// Cut is the slice of one node. It is immutable.
type Cut struct {
	Node     string
	Revision string
	Digest   string
	files    []desired.File
	bySum    map[Sum]desired.File
	manifest []*ktrdrv1.SliceFile
	tree     *Tree
}

func newCut(t *Tree, slice desired.Slice) (*Cut, error) {
	c := &Cut{
		Node: slice.Node, Revision: t.at.Revision.ID, Digest: slice.Digest, files: slice.Files,
		bySum: make(map[Sum]desired.File, len(slice.Files)), tree: t,
	}
	for _, file := range slice.Files {
		raw, err := hex.DecodeString(file.SHA256)
		if err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("slice revision %s: %s has the digest %q", c.Revision, file.Path, file.SHA256)
		}
		c.bySum[Sum(raw)] = file
		c.manifest = append(c.manifest, &ktrdrv1.SliceFile{Path: file.Path, Mode: uint32(file.Mode.Perm()), Size: file.Size, Sha256: raw})
	}
	return c, nil
}

// Has tells whether a content is one of a file of the slice.
func (c *Cut) Has(sum Sum) bool {
	_, ok := c.bySum[sum]
	return ok
}

// Message is the slice with the contents that the node lacks, as far as they fit; the node
// asks for the others. before is what the node has; nil when that is not known.
func (c *Cut) Message(ctx context.Context, before *Cut) (*ktrdrv1.Slice, error) {
	r := c.tree.at.Revision
	out := &ktrdrv1.Slice{
		Revision: r.ID, Branch: r.Branch, Author: r.Author, Subject: r.Subject, Time: timestamppb.New(r.Time),
		Digest: c.Digest, Files: c.manifest, Signer: r.Signer,
	}
	room := min(maxContents, maxMessage-proto.Size(out))
	if room < 0 {
		return nil, fmt.Errorf("send revision %s to node %s: its list of %d files does not fit into a message", c.Revision, c.Node, len(c.files))
	}
	sent := map[Sum]bool{}
	for i, file := range c.files {
		sum := Sum(c.manifest[i].GetSha256())
		if sent[sum] || before != nil && before.Has(sum) || file.Size > maxChunk {
			continue
		}
		chunk, err := c.chunk(ctx, sum, 0)
		if err != nil {
			return nil, err
		}
		size := proto.Size(chunk) + chunkOverhead
		if size > room {
			continue
		}
		sent[sum], room = true, room-size
		out.Contents = append(out.Contents, chunk)
	}
	return out, nil
}

// chunkOverhead is tag and length of a chunk in its message.
const chunkOverhead = 8

func (c *Cut) chunk(ctx context.Context, sum Sum, offset int64) (*ktrdrv1.FileChunk, error) {
	file := c.bySum[sum]
	content, err := c.tree.part(ctx, file, offset, min(file.Size-offset, maxChunk))
	if err != nil {
		return nil, err
	}
	return &ktrdrv1.FileChunk{Sha256: sum[:], Offset: offset, Content: content}, nil
}

// Answer brings contents that a node asked for, one message after the other.
type Answer struct {
	cut    *Cut
	sums   []Sum
	offset int64
	gone   [][]byte
	ended  bool
}

// Answer prepares the contents of sums. What is not in the slice is told as gone: a node gets
// its own files only. A nil cut has none.
func (c *Cut) Answer(sums [][]byte) *Answer {
	a := &Answer{cut: c}
	seen := map[Sum]bool{}
	for _, raw := range sums {
		if len(raw) != sha256.Size || seen[Sum(raw)] {
			continue
		}
		sum := Sum(raw)
		seen[sum] = true
		if c == nil || !c.Has(sum) {
			a.gone = append(a.gone, raw)
			continue
		}
		a.sums = append(a.sums, sum)
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
	for len(a.sums) > 0 {
		file := a.cut.bySum[a.sums[0]]
		if size := min(file.Size-a.offset, maxChunk); int(size) > room {
			return batch, nil
		}
		chunk, err := a.cut.chunk(ctx, a.sums[0], a.offset)
		if err != nil {
			return nil, err
		}
		batch.Chunks = append(batch.Chunks, chunk)
		room -= len(chunk.GetContent())
		if a.offset += int64(len(chunk.GetContent())); a.offset >= file.Size {
			a.sums, a.offset = a.sums[1:], 0
		}
		// Ten thousand empty files are no content, and too much for a message all the same.
		if room -= proto.Size(chunk) - len(chunk.GetContent()); room < 0 {
			return batch, nil
		}
	}
	a.ended, batch.Last = true, true
	return batch, nil
}
