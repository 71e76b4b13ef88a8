package boltscan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// ErrDamaged wraps everything that is wrong with a file.
var ErrDamaged = errors.New("damaged")

// The format of bbolt's data file, version 2 (bbolt's internal/common): a page begins
// with id (8 bytes), flags (2), count (2) and overflow (4); numbers have the byte order
// of the machine.
const (
	magic   = 0xED0CDAED
	version = 2

	pageHeader    = 16
	element       = 16
	metaChecked   = 56
	metaSize      = 64
	bucketHeader  = 16
	minPage       = 1 << 10
	maxPage       = 1 << 24
	maxDepth      = 32
	flagBranch    = 0x01
	flagLeaf      = 0x02
	flagMeta      = 0x04
	flagSubBucket = 0x01
)

// Read returns the keys and values of the top-level bucket of that name. The values are
// copies. With an error, which wraps ErrDamaged and joins all that is wrong, the map
// holds what could be read all the same; it may lack keys or have wrong ones.
func Read(data []byte, bucket string) (map[string][]byte, error) {
	s := scanner{data: data, values: map[string][]byte{}, seen: map[uint64]bool{}}
	root, ok := s.header()
	if ok {
		s.want = []byte(bucket)
		s.page(root, 0)
		if s.found == nil && len(s.faults) == 0 {
			s.fault("bucket %q is missing", bucket)
		}
		if s.found != nil {
			s.bucket(s.found)
		}
	}
	return s.values, errors.Join(s.faults...)
}

type scanner struct {
	data     []byte
	pageSize uint64
	pages    uint64
	seen     map[uint64]bool
	faults   []error

	// want is the bucket to find among the entries of the root; nil while its own are read.
	want, found []byte
	values      map[string][]byte
	taken       uint64 // bytes of keys and values
}

func (s *scanner) fault(format string, args ...any) {
	// One damaged page can hold thousands of broken entries.
	if len(s.faults) < 10 {
		s.faults = append(s.faults, fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...)))
	}
}

type meta struct{ pageSize, root, pages, tx uint64 }

// header finds the newer of the two headers that are valid. One of them may be broken by
// a power cut, and then the last change is lost; that is a fault, but not the end.
func (s *scanner) header() (root uint64, ok bool) {
	first, err0 := readMeta(s.data, 0)
	second, err1 := s.second(first)
	best := first
	switch {
	case err0 != nil && err1 != nil:
		s.fault("both headers are broken: %v, %v", err0, err1)
		return 0, false
	case err0 != nil:
		s.fault("the first header is broken: %v: the last change may be lost", err0)
		best = second
	case err1 != nil:
		s.fault("the second header is broken: %v: the last change may be lost", err1)
	case second.tx > first.tx:
		best = second
	}
	s.pageSize = best.pageSize
	s.pages = best.pages
	if have := uint64(len(s.data)) / s.pageSize; have < s.pages {
		s.fault("%d of %d pages are there", have, s.pages)
		s.pages = have
	}
	return best.root, true
}

// second reads the other header, which is on page 1: where that is depends on the page
// size, which a broken first header does not tell.
func (s *scanner) second(first meta) (meta, error) {
	if first.pageSize > 0 {
		return readMeta(s.data[min(first.pageSize, uint64(len(s.data))):], 1)
	}
	for size := minPage; size <= maxPage && size < len(s.data); size *= 2 {
		if m, err := readMeta(s.data[size:], 1); err == nil && m.pageSize == uint64(size) { //nolint:gosec // positive
			return m, nil
		}
	}
	return meta{}, errors.New("not found")
}

// readMeta reads the header that belongs on page id: a copy of the other one tells of an
// older state.
func readMeta(page []byte, id uint64) (meta, error) {
	if len(page) < pageHeader+metaSize {
		return meta{}, errors.New("cut off")
	}
	if have := u64(page, 0); have != id || page[8] != flagMeta {
		return meta{}, fmt.Errorf("page %d in the place of page %d", have, id)
	}
	m := page[pageHeader:]
	sum := fnv.New64a()
	_, _ = sum.Write(m[:metaChecked])
	switch {
	case u32(m, 0) != magic || u32(m, 4) != version:
		return meta{}, errors.New("not a bbolt file of version 2")
	case u64(m, 56) != sum.Sum64():
		return meta{}, errors.New("wrong checksum")
	}
	size := uint64(u32(m, 8))
	if size < minPage || size > maxPage || size&(size-1) != 0 {
		return meta{}, fmt.Errorf("page size %d", size)
	}
	return meta{pageSize: size, root: u64(m, 16), pages: u64(m, 40), tx: u64(m, 48)}, nil
}

// page reads a page of the file and everything below it.
func (s *scanner) page(id uint64, depth int) {
	if id < 2 || id >= s.pages || s.seen[id] || depth > maxDepth {
		s.fault("page %d can't be part of the tree", id)
		return
	}
	s.seen[id] = true
	from := id * s.pageSize
	page := s.data[from : from+s.pageSize]
	if u64(page, 0) != id {
		s.fault("page %d says that it is page %d", id, u64(page, 0))
		return
	}
	if overflow := uint64(u32(page, 12)); overflow > 0 {
		if overflow >= s.pages-id {
			s.fault("page %d has %d more than there are", id, overflow)
			return
		}
		page = s.data[from : from+(overflow+1)*s.pageSize]
	}
	s.elements(page, depth)
}

// elements reads what is on one page, which may be one inside a bucket's value.
func (s *scanner) elements(page []byte, depth int) {
	if len(page) < pageHeader {
		s.fault("a page is cut off")
		return
	}
	flags, count := u16(page, 8), int(u16(page, 10))
	if flags != flagBranch && flags != flagLeaf {
		s.fault("a page has the type %#x", flags)
		return
	}
	for i := range count {
		at := pageHeader + i*element
		if at+element > len(page) {
			s.fault("a page has no room for %d entries", count)
			return
		}
		if flags == flagBranch {
			s.page(u64(page, at+8), depth+1)
			continue
		}
		s.leaf(page, at)
	}
}

func (s *scanner) leaf(page []byte, at int) {
	// Positions count from the entry itself.
	from := uint64(at) + uint64(u32(page, at+4)) //nolint:gosec // positive
	middle := from + uint64(u32(page, at+8))
	end := middle + uint64(u32(page, at+12))
	if end > uint64(len(page)) {
		s.fault("an entry reaches beyond its page")
		return
	}
	key, value := page[from:middle], page[middle:end]
	isBucket := u32(page, at)&flagSubBucket != 0
	switch {
	case s.want != nil && isBucket && bytes.Equal(key, s.want):
		s.found = value
	case s.want != nil:
	case isBucket:
		s.fault("a bucket inside of the bucket")
	case s.taken+end-from > uint64(len(s.data)):
		// Entries that overlap would multiply: a small file must not fill the memory.
		s.fault("the entries are larger than the file")
	default:
		s.taken += end - from
		s.values[string(key)] = bytes.Clone(value)
	}
}

// bucket reads the entries of the found bucket: on pages of its own, or on one page
// right behind its header when they are few.
func (s *scanner) bucket(value []byte) {
	s.want = nil
	if len(value) < bucketHeader {
		s.fault("the bucket is cut off")
		return
	}
	if root := u64(value, 0); root != 0 {
		s.page(root, 0)
		return
	}
	if page := value[bucketHeader:]; len(page) >= pageHeader && u16(page, 8) == flagLeaf {
		s.elements(page, 0)
		return
	}
	s.fault("the bucket has no entries of its own")
}

func u16(b []byte, at int) uint16 { return binary.NativeEndian.Uint16(b[at:]) }
func u32(b []byte, at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
func u64(b []byte, at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
