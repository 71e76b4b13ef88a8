package report

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Limits of an uploaded tree: bytes of the archive and of its files, files and folders, and
// folders in each other, because the work for one name grows with its depth.
const (
	maxTree  = 16 << 20
	maxFiles = 10_000
	maxDepth = 32
)

// tree is an archive being unpacked into a folder that it can't leave.
type tree struct {
	root  *os.Root
	bytes int64
	count int
	dirs  map[string]bool
	links []string
}

// unpack writes the archive into dir, which is empty. It takes files, folders and symbolic
// links that stay inside; anything else, and any name twice, is an error.
func unpack(ctx context.Context, in io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open the folder for the tree: %w", err)
	}
	defer root.Close() //nolint:errcheck // only reached by what is closed already
	t := &tree{root: root, dirs: map[string]bool{".": true}}
	for archive := tar.NewReader(in); ; {
		if err := ctx.Err(); err != nil {
			return &problem{status: http.StatusRequestTimeout, Reason: reasonTimeout, Text: "the tree did not arrive in time"}
		}
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return t.checkLinks()
		}
		if err != nil {
			return badArchive(err)
		}
		if err := t.entry(header, archive); err != nil {
			return err
		}
	}
}

func badArchive(err error) error {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return err
	}
	return badField("", "the body is no tar archive: %s", err)
}

func tooLarge(format string, args ...any) error {
	return &problem{status: http.StatusRequestEntityTooLarge, Reason: reasonTooLarge, Text: fmt.Sprintf(format, args...)}
}

func (t *tree) entry(header *tar.Header, content io.Reader) error {
	name := path.Clean(header.Name)
	if !filepath.IsLocal(name) || strings.ContainsRune(name, 0) || len(name) > maxQuery {
		return badField(header.Name, "the name leads out of the tree")
	}
	if strings.Count(name, "/") >= maxDepth {
		return badField(header.Name, "more than %d folders in each other", maxDepth)
	}
	if err := t.folder(path.Dir(name)); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeDir:
		return t.folder(name)
	case tar.TypeReg:
		return t.file(name, header, content)
	case tar.TypeSymlink:
		return t.link(name, header.Linkname)
	}
	return badField(header.Name, "only files, folders and symbolic links can be planned")
}

// place counts one more file, folder or link.
func (t *tree) place() error {
	if t.count++; t.count > maxFiles {
		return tooLarge("the tree has more than %d files and folders", maxFiles)
	}
	return nil
}

func (t *tree) folder(name string) error {
	if t.dirs[name] {
		return nil
	}
	if err := t.folder(path.Dir(name)); err != nil {
		return err
	}
	if err := t.place(); err != nil {
		return err
	}
	t.dirs[name] = true
	return named(name, t.root.Mkdir(name, 0o755))
}

func (t *tree) file(name string, header *tar.Header, content io.Reader) error {
	if err := t.place(); err != nil {
		return err
	}
	// A sparse file says little in the archive and much on the disk.
	if t.bytes += header.Size; header.Size < 0 || t.bytes > maxTree {
		return tooLarge("the files of the tree have more than %d bytes", maxTree)
	}
	mode := fs.FileMode(0o644)
	if header.Mode&0o100 != 0 {
		mode = 0o755
	}
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return named(name, err)
	}
	_, err = io.Copy(f, content)
	if closeErr := f.Close(); err == nil && closeErr != nil {
		return fmt.Errorf("write %s: %w", name, closeErr)
	}
	if err != nil {
		return badArchive(err)
	}
	return nil
}

func (t *tree) link(name, target string) error {
	if err := t.place(); err != nil {
		return err
	}
	t.links = append(t.links, name)
	return named(name, t.root.Symlink(target, name))
}

// named turns what the names of an archive can cause into the sender's problem.
func named(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return badField(name, "the name is there twice")
	}
	return badField(name, "the name can't be used: %s", cause(err))
}

// cause is an error without the path of the temporary folder.
func cause(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &l):
		return l.Err
	}
	return err
}

// checkLinks refuses links that lead out. os.Root follows them step by step, so that links
// through links are found out too; one that leads to nothing inside is harmless.
func (t *tree) checkLinks() error {
	for _, name := range t.links {
		if _, err := t.root.Stat(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return badField(name, "the link leads out of the tree: %s", cause(err))
		}
	}
	return nil
}
