package source

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Part is a piece of a content.
type Part struct {
	// Sum is of the whole content.
	Sum Sum
	// Offset is where the piece begins, in bytes.
	Offset  int64
	Content []byte
}

// contents keeps file contents by their SHA-256:
//
//	<dir>/<sum>       a whole content; what reads it verifies it
//	<tmp>/part-<sum>  one that is still coming
//
// Only contents that were announced by expect are taken, and no more of them than was announced.
type contents struct {
	dir, tmp string

	mu     sync.Mutex
	coming map[Sum]*partial
}

type partial struct {
	size, have int64
	hash       hash.Hash
}

func openContents(dir, tmp string) (*contents, error) {
	return &contents{dir: dir, tmp: tmp, coming: map[Sum]*partial{}}, os.MkdirAll(dir, 0o700)
}

func (c *contents) path(sum Sum) string { return filepath.Join(c.dir, sum.String()) }

func (c *contents) part(sum Sum) string { return filepath.Join(c.tmp, "part-"+sum.String()) }

// expect returns which contents of files are not here, each once, and takes them from now on.
func (c *contents) expect(files []OfferFile) ([]Sum, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var missing []Sum
	seen := map[Sum]bool{}
	for i := range files {
		f := &files[i]
		if seen[f.Sum] {
			continue
		}
		seen[f.Sum] = true
		info, err := os.Lstat(c.path(f.Sum))
		switch {
		case err == nil && info.Mode().IsRegular() && info.Size() == f.Size:
			continue
		case err == nil:
			if err := os.RemoveAll(c.path(f.Sum)); err != nil {
				return nil, err
			}
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
		if f.Size == 0 {
			if err := os.WriteFile(c.path(f.Sum), nil, 0o600); err != nil {
				return nil, err
			}
			continue
		}
		if c.coming[f.Sum] == nil {
			c.coming[f.Sum] = &partial{size: f.Size}
		}
		missing = append(missing, f.Sum)
	}
	return missing, nil
}

// store takes a piece. One that nobody expects, or that does not continue what is here, is ignored: what is missing in
// the end is asked for again.
func (c *contents) store(p Part) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.coming[p.Sum]
	if in == nil {
		return nil
	}
	if p.Offset == 0 {
		in.have, in.hash = 0, sha256.New()
	}
	if in.hash == nil || p.Offset != in.have || int64(len(p.Content)) > in.size-in.have {
		in.have, in.hash = 0, nil
		return nil
	}
	if err := c.write(p); err != nil {
		in.have, in.hash = 0, nil
		return errors.Join(err, gentle(os.Remove(c.part(p.Sum))))
	}
	in.have += int64(len(p.Content))
	in.hash.Write(p.Content)
	if in.have < in.size {
		return nil
	}
	if Sum(in.hash.Sum(nil)) != p.Sum {
		in.have, in.hash = 0, nil
		return gentle(os.Remove(c.part(p.Sum)))
	}
	delete(c.coming, p.Sum)
	return os.Rename(c.part(p.Sum), c.path(p.Sum))
}

func (c *contents) write(p Part) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if p.Offset == 0 {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(c.part(p.Sum), flags, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(p.Content)
	return errors.Join(err, f.Close())
}

// errLost says that a content is not what its name says, or not there any more.
var errLost = errors.New("a content was lost")

// read gives a content to use, which reads it to its end. A content that is not what its name says is removed.
func (c *contents) read(f *OfferFile, use func(io.Reader) error) error {
	in, err := os.Open(c.path(f.Sum))
	if errors.Is(err, fs.ErrNotExist) {
		return errLost
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	sum := sha256.New()
	if err := use(io.TeeReader(in, sum)); err != nil {
		return err
	}
	if Sum(sum.Sum(nil)) == f.Sum {
		return nil
	}
	if err := os.Remove(c.path(f.Sum)); err != nil {
		return err
	}
	return errLost
}

// check removes all contents of files that are damaged, so that they are asked for together.
func (c *contents) check(files []OfferFile) error {
	for i := range files {
		err := c.read(&files[i], func(in io.Reader) error {
			_, err := io.Copy(io.Discard, in)
			return err
		})
		if err != nil && !errors.Is(err, errLost) {
			return err
		}
	}
	return nil
}

// prune removes the contents that are in no offer of keep, and forgets what it waited for.
func (c *contents) prune(keep ...*Offer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	wanted := map[string]bool{}
	coming := map[Sum]*partial{}
	for _, o := range keep {
		for i := range o.Files {
			sum := o.Files[i].Sum
			wanted[sum.String()] = true
			if in := c.coming[sum]; in != nil {
				coming[sum] = in
			}
		}
	}
	list, err := os.ReadDir(c.dir)
	errs := []error{err}
	for _, d := range list {
		if !wanted[d.Name()] {
			errs = append(errs, os.RemoveAll(filepath.Join(c.dir, d.Name())))
		}
	}
	for sum := range c.coming {
		if coming[sum] == nil {
			errs = append(errs, gentle(os.Remove(c.part(sum))))
		}
	}
	c.coming = coming
	return errors.Join(errs...)
}

// gentle makes "is not there" no error.
func gentle(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
