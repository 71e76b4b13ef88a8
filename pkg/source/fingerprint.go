package source

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"
)

// settle is how long a folder must have been untouched before its fingerprint is believed. Linux stamps files with a
// clock that ticks every 1 to 10 ms; two writes within one tick leave the same stamp.
const settle = 50 * time.Millisecond

// fingerprint is a digest of what stat says about every file: equal fingerprints mean equal content, because no
// program can set a file's change time. An unequal one means only that the content has to be read.
type fingerprint [sha256.Size]byte

// stat fingerprints from. It returns false when something changed so recently that a further change could hide
// behind the same stamp, and when anything could not be read.
func stat(from *os.Root, limits Limits, skip func(string) bool) (fingerprint, bool) {
	s := statter{from: from, left: limits.MaxFiles, skip: skip}
	start := time.Now()
	h := sha256.New()
	s.line = func(name string, info fs.FileInfo, sys *syscall.Stat_t) {
		fmt.Fprintf(h, "%q %o %d %d %d %d\n", name, info.Mode(), info.Size(), info.ModTime().UnixNano(), sys.Ino, ctime(sys).UnixNano())
	}
	if !s.folder(".") || start.Sub(s.newest) < settle {
		return fingerprint{}, false
	}
	return fingerprint(h.Sum(nil)), true
}

type statter struct {
	from   *os.Root
	left   int
	newest time.Time
	skip   func(string) bool
	line   func(string, fs.FileInfo, *syscall.Stat_t)
}

func (s *statter) folder(dir string) bool {
	if !s.one(dir) {
		return false
	}
	list, err := fs.ReadDir(s.from.FS(), dir) // sorted
	if err != nil {
		return false
	}
	for _, d := range list {
		name := path.Join(dir, d.Name())
		switch {
		case s.skip != nil && s.skip(d.Name()):
		case d.IsDir():
			if !s.folder(name) {
				return false
			}
		case !s.one(name):
			return false
		}
	}
	return true
}

func (s *statter) one(name string) bool {
	info, err := s.from.Lstat(name)
	if err != nil {
		return false
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if s.left--; !ok || s.left < 0 {
		return false
	}
	if c := ctime(sys); c.After(s.newest) {
		s.newest = c
	}
	s.line(name, info, sys)
	return true
}
