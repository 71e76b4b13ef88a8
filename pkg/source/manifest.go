package source

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"
)

// entry is one line of a manifest.
type entry struct {
	name string
	mode fs.FileMode
	sum  [sha256.Size]byte
}

// manifest collects what a tree consists of, and writes it when it has a root.
type manifest struct {
	root    *os.Root
	limits  Limits
	entries []entry
	bytes   int64
	newest  time.Time
	// buffer is one for all files.
	buffer []byte
}

// copyBuffer in bytes.
const copyBuffer = 32 << 10

// normalMode is the mode that a tree has on disk. Files are readable for all because they get mounted into
// containers whose users differ from ours; of the origin's bits only the owner's x counts, as in git.
func normalMode(mode fs.FileMode) fs.FileMode {
	switch {
	case mode&fs.ModeSymlink != 0:
		return fs.ModeSymlink
	case mode.IsDir():
		return fs.ModeDir | 0o755
	case mode&0o100 != 0:
		return 0o755
	default:
		return 0o644
	}
}

func (m *manifest) add(e entry) error {
	if len(m.entries) >= m.limits.MaxFiles {
		return fail(ReasonTooLarge, "more than %d files and folders; take out what is no desired state", m.limits.MaxFiles)
	}
	m.entries = append(m.entries, e)
	return nil
}

func (m *manifest) dir(name string, mode fs.FileMode) error {
	if err := m.add(entry{name: name, mode: mode}); err != nil || m.root == nil {
		return err
	}
	if err := m.root.Mkdir(name, 0o755); err != nil {
		return err
	}
	return m.root.Chmod(name, 0o755) // as for files: not the umask's decision
}

func (m *manifest) symlink(name, target string) error {
	e := entry{name: name, mode: fs.ModeSymlink, sum: sha256.Sum256([]byte(target))}
	if err := m.add(e); err != nil || m.root == nil {
		return err
	}
	return m.root.Symlink(target, name)
}

// file reads r to its end, never more than the limit allows.
func (m *manifest) file(name string, mode fs.FileMode, r io.Reader) error {
	sum, sink := sha256.New(), io.Discard
	if m.root != nil {
		f, err := m.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm())
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		// The process's umask must not decide what containers can read.
		if err := f.Chmod(mode.Perm()); err != nil {
			return err
		}
		sink = f
	}
	left := m.limits.MaxBytes - m.bytes
	if m.buffer == nil {
		m.buffer = make([]byte, copyBuffer)
	}
	n, err := io.CopyBuffer(io.MultiWriter(sum, sink), io.LimitReader(r, left+1), m.buffer)
	if err != nil {
		return err
	}
	if n > left {
		return fail(ReasonTooLarge, "more than %d bytes of files; take out what is no desired state", m.limits.MaxBytes)
	}
	m.bytes += n
	e := entry{name: name, mode: mode}
	sum.Sum(e.sum[:0])
	return m.add(e)
}

// digest covers names, modes and content, in an order of its own, each with its length.
func (m *manifest) digest() string {
	slices.SortFunc(m.entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	h := sha256.New()
	var buf []byte
	for _, e := range m.entries {
		buf = binary.BigEndian.AppendUint32(buf[:0], uint32(e.mode))
		buf = binary.BigEndian.AppendUint64(buf, uint64(len(e.name)))
		buf = append(append(buf, e.name...), e.sum[:]...)
		h.Write(buf)
	}
	return hex.EncodeToString(h.Sum(nil))
}
