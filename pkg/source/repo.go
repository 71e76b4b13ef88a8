package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// errStorage: this machine's disk is to blame, not what is on it.
var errStorage = errors.New("write git cache")

const (
	// tipRef remembers the commit whose objects are all here.
	tipRef = plumbing.ReferenceName("refs/fleet/tip")
	// maxObjects is how many packs and loose objects may pile up. Nothing is worth repacking when a new shallow
	// clone costs as much.
	maxObjects = 2000
)

// repo is the bare repository in the cache. It holds one commit without its history, and leftovers of earlier ones.
type repo struct {
	dir string
	max int64
}

func (r repo) packs() string { return filepath.Join(r.dir, "objects", "pack") }

// open returns the store and the commit that it holds completely (zero: none).
func (r repo) open() (*filesystem.Storage, plumbing.Hash, error) {
	if err := r.tidy(); err != nil {
		return nil, plumbing.ZeroHash, fmt.Errorf("%w: %w", errStorage, err)
	}
	st := r.store()
	if err := st.Init(); err != nil {
		return nil, plumbing.ZeroHash, fmt.Errorf("%w: %w", errStorage, err)
	}
	ref, err := st.Reference(tipRef)
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return st, plumbing.ZeroHash, nil
	}
	if err != nil {
		return nil, plumbing.ZeroHash, fmt.Errorf("%w: %s: %w", errCorrupt, tipRef, err)
	}
	if _, err := st.EncodedObject(plumbing.CommitObject, ref.Hash()); err != nil {
		return nil, plumbing.ZeroHash, fmt.Errorf("%w: commit %s: %w", errCorrupt, ref.Hash(), err)
	}
	return st, ref.Hash(), nil
}

func (r repo) store() *filesystem.Storage {
	return filesystem.NewStorage(osfs.New(r.dir, osfs.WithBoundOS()), cache.NewObjectLRU(cache.MiByte))
}

// tidy removes what a crash left, and everything once too much has piled up or something else, a link perhaps, stands
// where a folder should be.
func (r repo) tidy() error {
	fits, cause := r.sweep()
	if fits && cause == nil {
		return nil
	}
	if err := os.RemoveAll(r.dir); err != nil {
		return errors.Join(cause, err)
	}
	return os.MkdirAll(r.packs(), 0o700)
}

// sweep removes unfinished files and reports whether the rest is within the limits. It works through an os.Root: a
// link below the cache, also one that appears meanwhile, must not lead its removals elsewhere.
func (r repo) sweep() (fits bool, err error) {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return false, err
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return false, err
	}
	defer func() { _ = root.Close() }()
	if err := root.MkdirAll("objects/pack", 0o700); err != nil {
		return false, err
	}
	var count int
	var size int64
	err = fs.WalkDir(root.FS(), "objects", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasPrefix(d.Name(), "tmp") {
			return root.Remove(p)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		count++
		size += info.Size()
		return nil
	})
	return count <= maxObjects && size <= r.max, err
}

// transfer is a pack that is on its way.
type transfer struct {
	ctx  context.Context //nolint:containedctx // lives for one transfer
	from *blamed
}

// spool writes the pack to a file that is removed when use returns, and looks at its header.
func (r repo) spool(in transfer, use func(f *os.File) error) error {
	f, err := os.CreateTemp(r.packs(), "tmp-")
	if err != nil {
		return fmt.Errorf("%w: %w", errStorage, err)
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	n, err := io.Copy(f, io.LimitReader(in.from, r.max+1))
	switch {
	case in.from.err != nil:
		return &networkError{in.from.err}
	case err != nil:
		return fmt.Errorf("%w: %w", errStorage, err)
	case n > r.max:
		return fail(ReasonTooLarge, "the server sends more than %d bytes; is this the right repository? The limit is maxTransferBytes", r.max)
	}
	if err := plausible(f, n); err != nil {
		return err
	}
	return use(f)
}

// receive stores a complete pack under its checksum, indexed by what was found in it.
func (r repo) receive(in transfer) error {
	return r.spool(in, func(f *os.File) error {
		var w idxfile.Writer
		parser, err := packfile.NewParser(packfile.NewScanner(interruptible{in.ctx, f}), &observer{Writer: &w, max: r.max})
		if err != nil {
			return err
		}
		sum, err := parser.Parse()
		if ReasonOf(err) != "" || in.ctx.Err() != nil {
			return err
		}
		if err != nil {
			return &networkError{fmt.Errorf("%w: the pack is broken or incomplete: %w", errTransfer, err)}
		}
		return r.keep(f, sum, &w)
	})
}

// keep writes index and pack. The pack comes first: an index without its pack would be a promise that can't be kept.
func (r repo) keep(f *os.File, sum plumbing.Hash, w *idxfile.Writer) error {
	index, err := w.Index()
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	if _, err := idxfile.NewEncoder(&buf).Encode(index); err != nil {
		return err
	}
	base := filepath.Join(r.packs(), "pack-"+sum.String())
	if err := errors.Join(os.Rename(f.Name(), base+".pack"), os.WriteFile(base+".idx", buf.Bytes(), 0o600)); err != nil {
		return fmt.Errorf("%w: %w", errStorage, err)
	}
	return nil
}

// receiveThin unpacks a pack whose deltas refer to objects that are here already. When one of these is not, or the pack
// is broken, a clone from scratch finds out which.
func (r repo) receiveThin(in transfer, st *filesystem.Storage) error {
	return r.spool(in, func(f *os.File) error {
		scanner := packfile.NewScanner(interruptible{in.ctx, f})
		parser, err := packfile.NewParserWithStorage(scanner, st, &observer{Writer: &idxfile.Writer{}, max: r.max})
		if err != nil {
			return err
		}
		_, err = parser.Parse()
		var disk *fs.PathError
		switch {
		case err == nil, ReasonOf(err) != "", in.ctx.Err() != nil:
			return err
		case errors.As(err, &disk) && !errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOSPC):
			return fmt.Errorf("%w: %w", errStorage, err)
		default:
			return fmt.Errorf("%w: unpack: %w", errCorrupt, err)
		}
	})
}

// plausible looks at the pack's header before a parser allocates what the header says. The smallest object has a byte
// of header and eight of compressed nothing.
func plausible(f *os.File, n int64) error {
	var head [12]byte
	if _, err := f.ReadAt(head[:], 0); err != nil || string(head[:4]) != "PACK" {
		return &networkError{fmt.Errorf("%w: it is no pack", errTransfer)}
	}
	if count := int64(binary.BigEndian.Uint32(head[8:])); count > n/9 {
		return &networkError{fmt.Errorf("%w: a pack of %d bytes can't hold %d objects", errTransfer, n, count)}
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// observer refuses objects that would not fit into memory.
type observer struct {
	*idxfile.Writer
	max int64
}

// OnInflatedObjectHeader implements packfile.Observer.
func (o *observer) OnInflatedObjectHeader(_ plumbing.ObjectType, size, _ int64) error {
	if size > o.max {
		return fail(ReasonTooLarge, "the repository has an object of %d bytes, more than %d", size, o.max)
	}
	return nil
}

// interruptible lets a long parse end with ctx.
type interruptible struct {
	ctx context.Context //nolint:containedctx // lives for one parse
	f   *os.File
}

func (i interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.f.Read(p)
}

func (i interruptible) Seek(offset int64, whence int) (int64, error) { return i.f.Seek(offset, whence) }

// advance remembers that the commit is complete and returns a store that sees the new pack.
func (r repo) advance(h plumbing.Hash) (*filesystem.Storage, error) {
	st := r.store()
	if _, err := st.EncodedObject(plumbing.CommitObject, h); err != nil {
		return nil, &networkError{fmt.Errorf("%w: it lacks the commit that was asked for: %w", errTransfer, err)}
	}
	if err := st.SetReference(plumbing.NewHashReference(tipRef, h)); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w: %w", errStorage, err)
	}
	return st, nil
}

// networkError marks an error whose cause is the other side.
type networkError struct{ err error }

func (e *networkError) Error() string { return e.err.Error() }
func (e *networkError) Unwrap() error { return e.err }
