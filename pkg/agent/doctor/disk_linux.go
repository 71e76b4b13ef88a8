package doctor

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"ktrdr.io/fleet/pkg/api"
)

// Least room in a folder: below little it warns, below none it fails.
const (
	littleBytes, noBytes = 2 << 30, 512 << 20
	littleShare, noShare = 10, 2 // percent of blocks or inodes
)

// disk looks for room, and for the memory that secrets are delivered through.
func (c *Config) disk(ctx context.Context, _ Request, emit func(api.Check)) {
	folders := c.Folders
	if c.Engine != nil {
		if facts, err := c.Engine.Facts(ctx); err == nil && facts.DataRoot != "" {
			folders = append(slices.Clip(folders), Folder{Path: facts.DataRoot, Purpose: "images and containers"})
		}
	}
	for _, f := range folders {
		emit(room(f))
	}
}

func room(f Folder) api.Check {
	var st unix.Statfs_t
	path := f.Path
	err := unix.Statfs(path, &st)
	for errors.Is(err, fs.ErrNotExist) && path != "/" && !f.Memory {
		path = filepath.Dir(path) // it will be made there
		err = unix.Statfs(path, &st)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fixed(row("disk", f.Path, api.CheckWarn, "%s: not mounted yet", f.Purpose), "the systemd unit mounts it at its start, with ktrdr-agent prepare")
	case err != nil:
		return fixed(row("disk", f.Path, api.CheckFail, "%s: %v", f.Purpose, err), "make it readable for the agent")
	case f.Memory && st.Type != unix.TMPFS_MAGIC && st.Type != unix.RAMFS_MAGIC:
		return fixed(row("disk", f.Path, api.CheckFail, "%s: this is a disk, not memory", f.Purpose), "run ktrdr-agent prepare as root; the systemd unit does")
	case f.Memory:
		return row("disk", f.Path, api.CheckOK, "%s: memory", f.Purpose)
	}
	free := int64(st.Bavail) * st.Bsize //nolint:gosec // sizes of file systems fit
	share, inodes := percent(st.Bavail, st.Blocks), percent(st.Ffree, st.Files)
	result := api.CheckOK
	switch {
	case free < noBytes || share < noShare && free < littleBytes || inodes < noShare:
		result = api.CheckFail
	case free < littleBytes || share < littleShare || inodes < littleShare:
		result = api.CheckWarn
	}
	found := row("disk", f.Path, result, "%s: %s free (%d %%), %d %% of inodes free", f.Purpose, api.ByteSize(free), share, inodes)
	if result != api.CheckOK {
		return fixed(found, "make room: docker image prune, docker system df, journalctl --vacuum-size=200M")
	}
	return found
}

// percent of a whole; a file system without a limit has all of it.
func percent(part, whole uint64) uint64 {
	if whole == 0 {
		return 100
	}
	return part * 100 / whole
}
