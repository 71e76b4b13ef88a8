package source

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

const (
	maxNameBytes = 255  // NAME_MAX
	maxPathBytes = 2048 // half of PATH_MAX; the rest is for what the path is put under
)

// lfsPointer is how a file starts whose content is not in the repository.
const lfsPointer = "version https://git-lfs.github.com/spec/v1\n"

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
