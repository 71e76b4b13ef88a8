package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// errCorrupt: the local repository doesn't hold what it should. Throwing it away helps.
var errCorrupt = errors.New("the local copy of the repository is unreadable")

const maxCommitBytes = 1 << 20

// reader reads objects and believes none: each is hashed again, so that from the commit's hash down nothing else than
// what was committed (and signed) can end up in a tree, whatever the pack and its index say.
type reader struct {
	ctx   context.Context //nolint:containedctx // lives for one checkout
	store storer.EncodedObjectStorer
	max   int64
}

// corruptOnPanic turns a panic of the library on unexpected bytes into errCorrupt.
func corruptOnPanic(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", errCorrupt, p)
	}
}

// open returns an object of the wanted kind.
func (r reader) open(kind plumbing.ObjectType, h plumbing.Hash, limit int64) (plumbing.EncodedObject, error) {
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	obj, err := r.store.EncodedObject(plumbing.AnyObject, h)
	if err != nil {
		return nil, fmt.Errorf("%w: %s %s: %w", errCorrupt, kind, h, err)
	}
	if obj.Type() != kind {
		return nil, fmt.Errorf("%w: %s is a %s, not a %s", errCorrupt, h, obj.Type(), kind)
	}
	if obj.Size() > limit {
		return nil, fail(ReasonTooLarge, "%s %s has %d bytes, more than %d", kind, h, obj.Size(), limit)
	}
	return obj, nil
}

// copy writes an object's content to w and compares its hash.
func (r reader) copy(kind plumbing.ObjectType, h plumbing.Hash, limit int64, use func(io.Reader) error) error {
	obj, err := r.open(kind, h, limit)
	if err != nil {
		return err
	}
	in, err := obj.Reader()
	if err != nil {
		return fmt.Errorf("%w: %s %s: %w", errCorrupt, kind, h, err)
	}
	defer func() { _ = in.Close() }()
	sum := plumbing.NewHasher(kind, obj.Size())
	src := &blamed{r: io.TeeReader(in, sum)}
	if err := use(src); err != nil {
		if src.err != nil {
			return fmt.Errorf("%w: %s %s: %w", errCorrupt, kind, h, src.err)
		}
		return err
	}
	if _, err := io.Copy(io.Discard, src); err != nil {
		return fmt.Errorf("%w: %s %s: %w", errCorrupt, kind, h, err)
	}
	if got := sum.Sum(); got != h {
		return fmt.Errorf("%w: %s %s has the content of %s", errCorrupt, kind, h, got)
	}
	return nil
}

// blamed remembers that an error came from reading, not from what was done with the bytes.
type blamed struct {
	r   io.Reader
	err error
}

func (b *blamed) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// bytes reads a whole object.
func (r reader) bytes(kind plumbing.ObjectType, h plumbing.Hash, limit int64) ([]byte, error) {
	var buf bytes.Buffer
	err := r.copy(kind, h, limit, func(in io.Reader) error {
		_, err := buf.ReadFrom(in)
		return err
	})
	return buf.Bytes(), err
}

// commit reads the commit and what is shown of it.
func (r reader) commit(h plumbing.Hash) (Revision, []byte, error) {
	raw, err := r.bytes(plumbing.CommitObject, h, maxCommitBytes)
	if err != nil {
		return Revision{}, nil, err
	}
	var c object.Commit
	if err := c.Decode(memory(plumbing.CommitObject, raw)); err != nil {
		return Revision{}, nil, fail(ReasonInvalid, "commit %s is malformed: %w", h, err)
	}
	if !bytes.HasPrefix(raw, []byte("tree ")) {
		return Revision{}, nil, fail(ReasonInvalid, "commit %s is malformed: it doesn't start with its tree", h)
	}
	subject, _, _ := strings.Cut(strings.TrimLeft(c.Message, "\n"), "\n")
	return Revision{
		ID:      h.String(),
		Author:  printable(c.Author.Name + " <" + c.Author.Email + ">"),
		Subject: printable(subject),
		Time:    c.Committer.When.UTC(),
	}, raw, nil
}

// memory wraps bytes for the library's decoders.
func memory(kind plumbing.ObjectType, raw []byte) plumbing.EncodedObject {
	obj := &plumbing.MemoryObject{}
	obj.SetType(kind)
	// Writing to memory has no way to fail.
	_, _ = obj.Write(raw)
	return obj
}

// printable makes a short line of what somebody else wrote.
func printable(s string) string { return harmless(s, 200) }

// harmless removes what could move a terminal's cursor, and bounds the length.
func harmless(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strings.TrimSpace(s)
}
