package source

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// swap puts tmp in dir's place in one step, and what was there in tmp's, so that a container that is being created
// never finds the folder missing: the engine would make an empty one.
func swap(tmp, dir string) error {
	err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist): // the usual case: nothing to replace
	default: // a file system without exchange (some network ones)
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return os.Rename(tmp, dir)
}

// ctime is when the inode last changed; no program can set it.
func ctime(s *syscall.Stat_t) time.Time { return time.Unix(s.Ctim.Sec, s.Ctim.Nsec) }
