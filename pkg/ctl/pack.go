package ctl

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Limits of what an agent takes, as docs/spec/http.md has them.
const (
	maxTree  = 16 << 20
	maxFiles = 10_000
)

// pack makes a tar archive of a desired-state folder, without .git. Owners, times and
// anything else than content and the executable bit stay behind.
func pack(ctx context.Context, dir string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read desired state: %w", err)
	}
	defer root.Close() //nolint:errcheck // a folder that was only read
	p := &packer{root: root}
	p.tar = tar.NewWriter(&p.out)
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		if name == ".git" {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return p.add(name, entry)
	})
	if err == nil {
		err = p.tar.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("read desired state %s: %w", dir, err)
	}
	return p.out.Bytes(), nil
}

type packer struct {
	root  *os.Root
	tar   *tar.Writer
	out   bytes.Buffer
	count int
}

func (p *packer) add(name string, entry fs.DirEntry) error {
	if p.count++; p.count > maxFiles {
		return fmt.Errorf("more than %d files and folders: is this a desired-state folder?", maxFiles)
	}
	info, err := entry.Info()
	if err != nil {
		return err
	}
	header := &tar.Header{Name: filepath.ToSlash(name), Mode: int64(info.Mode().Perm()), Format: tar.FormatPAX}
	switch info.Mode().Type() {
	case fs.ModeDir:
		header.Typeflag = tar.TypeDir
		return p.tar.WriteHeader(header)
	case fs.ModeSymlink:
		header.Typeflag = tar.TypeSymlink
		if header.Linkname, err = p.root.Readlink(name); err != nil {
			return err
		}
		return p.tar.WriteHeader(header)
	case 0:
		return p.file(name, header)
	}
	return fmt.Errorf("%s is neither a file nor a folder nor a symbolic link", name)
}

func (p *packer) file(name string, header *tar.Header) error {
	f, err := p.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // a file that was only read
	content, err := io.ReadAll(io.LimitReader(f, maxTree+1))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	// Each entry has a block of its own and is filled up to the next one.
	if p.out.Len()+len(content)+1024 > maxTree {
		return fmt.Errorf("more than %d MiB: is this a desired-state folder?", maxTree>>20)
	}
	header.Typeflag, header.Size = tar.TypeReg, int64(len(content))
	if err := p.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err = p.tar.Write(content)
	return err
}
