//go:build !linux

package source

import (
	"os"
	"syscall"
	"time"
)

// swap removes what is in dir's place first: only Linux has an exchange that works on all its file systems, and only
// there containers are created from trees.
func swap(tmp, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

// ctime is when the inode last changed; no program can set it.
func ctime(s *syscall.Stat_t) time.Time { return time.Unix(s.Ctimespec.Sec, s.Ctimespec.Nsec) }
