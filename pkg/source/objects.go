package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// errCorrupt: the local repository doesn't hold what it should. Throwing it away helps.
var errCorrupt = errors.New("the local copy of the repository is unreadable")

const (
	maxCommitBytes = 1 << 20
	maxNameBytes   = 255  // NAME_MAX
	maxPathBytes   = 2048 // half of PATH_MAX; the rest is for what the path is put under
)

// lfsPointer is how a file starts whose content is not in the repository.
const lfsPointer = "version https://git-lfs.github.com/spec/v1\n"

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
	if _, err := io.Copy(io.Discard, src); err != nil || sum.Sum() != h {
		return fmt.Errorf("%w: %s %s has other content (%w)", errCorrupt, kind, h, errors.Join(err))
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

func (r reader) tree(h plumbing.Hash) ([]object.TreeEntry, error) {
	raw, err := r.bytes(plumbing.TreeObject, h, r.max)
	if err != nil {
		return nil, err
	}
	var t object.Tree
	if err := t.Decode(memory(plumbing.TreeObject, raw)); err != nil {
		return nil, fail(ReasonInvalid, "tree %s is malformed: %w", h, err)
	}
	return t.Entries, nil
}

// folder writes the sub-folder of a commit to m.
func (r reader) folder(commit []byte, sub string, m *manifest) error {
	var c object.Commit
	if err := c.Decode(memory(plumbing.CommitObject, commit)); err != nil {
		return fail(ReasonInvalid, "commit is malformed: %w", err)
	}
	at := c.TreeHash
	for part := range strings.SplitSeq(path.Clean(sub), "/") {
		if part == "." {
			continue
		}
		next, err := r.step(at, part, sub)
		if err != nil {
			return err
		}
		at = next
	}
	return r.write(at, "", m)
}

func (r reader) step(at plumbing.Hash, part, sub string) (plumbing.Hash, error) {
	entries, err := r.tree(at)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	for _, e := range entries {
		switch {
		case e.Name != part:
		case e.Mode == filemode.Submodule:
			return plumbing.ZeroHash, submodule(sub)
		case e.Mode != filemode.Dir:
			return plumbing.ZeroHash, fail(ReasonPathNotFound, "%s in %s is not a folder in this commit", part, sub)
		default:
			return e.Hash, nil
		}
	}
	return plumbing.ZeroHash, fail(ReasonPathNotFound, "folder %s does not exist in this commit; push it or correct the configured path", sub)
}

func submodule(name string) error {
	return fail(ReasonInvalid, "%s is a submodule, whose files are not in this repository; commit the files themselves", name)
}

// write adds a tree below dir ("" or ending in a slash).
func (r reader) write(h plumbing.Hash, dir string, m *manifest) error {
	entries, err := r.tree(h)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := dir + e.Name
		if err := safeName(name, e.Name); err != nil {
			return err
		}
		err := r.entry(e, name, m)
		if errors.Is(err, fs.ErrExist) {
			return fail(ReasonInvalid, "%q is in its folder twice", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r reader) entry(e object.TreeEntry, name string, m *manifest) error {
	switch e.Mode {
	case filemode.Dir:
		if err := m.dir(name, fs.ModeDir|0o755); err != nil {
			return err
		}
		return r.write(e.Hash, name+"/", m)
	case filemode.Symlink:
		target, err := r.bytes(plumbing.BlobObject, e.Hash, maxPathBytes)
		if err != nil {
			return err
		}
		if len(target) == 0 || bytes.IndexByte(target, 0) >= 0 {
			return fail(ReasonInvalid, "%q is a symbolic link with an impossible target", name)
		}
		return m.symlink(name, string(target))
	case filemode.Regular, filemode.Deprecated, filemode.Executable:
		return r.file(e, name, m)
	case filemode.Submodule:
		return submodule(name)
	default:
		return fail(ReasonInvalid, "%q has the unknown mode %s", name, e.Mode)
	}
}

func (r reader) file(e object.TreeEntry, name string, m *manifest) error {
	mode := fs.FileMode(0o644)
	if e.Mode == filemode.Executable {
		mode = 0o755
	}
	return r.copy(plumbing.BlobObject, e.Hash, r.max, func(in io.Reader) error {
		head := make([]byte, len(lfsPointer))
		n, err := io.ReadFull(in, head)
		if err == nil && string(head) == lfsPointer {
			return fail(ReasonInvalid, "%s is a Git LFS pointer, whose content is not in this repository; commit the file itself", name)
		}
		return m.file(name, mode, io.MultiReader(bytes.NewReader(head[:n]), in))
	})
}

// safeName refuses what git's own fsck refuses and what no file system could hold.
func safeName(name, base string) error {
	switch {
	case base == "" || base == "." || base == ".." || strings.EqualFold(base, ".git") || strings.ContainsAny(base, "/\x00"):
		return fail(ReasonInvalid, "the file name %q is not allowed in a repository", name)
	case len(base) > maxNameBytes || len(name) > maxPathBytes:
		return fail(ReasonInvalid, "the path %.40q… is too long (%d bytes)", name, len(name))
	}
	return nil
}
