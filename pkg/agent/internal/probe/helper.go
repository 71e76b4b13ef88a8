package probe

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// RunMountHelper is the whole program of the helper process: it reads one request from in,
// touches the mount, and writes one answer to out. It returns the process's exit code: 0
// when it answered, whatever the answer, else 1 (no request) or 2 (its own time is up).
// The caller must exit at once. When GID is asked for, it gives up the process's groups
// for that one where it may: containers have no other.
func RunMountHelper(in io.Reader, out io.Writer) int {
	var want request
	if err := json.NewDecoder(io.LimitReader(in, 64<<10)).Decode(&want); err != nil {
		return 1
	}
	if want.Timeout <= 0 {
		want.Timeout = defaultMountTimeout
	}
	found := make(chan answer, 1)
	look := examine
	if want.Files != nil {
		look = examineFiles
	}
	go func() { found <- look(want) }()
	select {
	case a := <-found:
		if json.NewEncoder(out).Encode(a) != nil {
			return 1
		}
		return 0
	case <-time.After(want.Timeout + time.Second):
		// The agent that asked may be gone: nobody else would end this process.
		return 2
	}
}

func examine(want request) answer {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(want.Path, &stat); err != nil {
		return answer{Reason: api.ReasonMountMissing, Message: fmt.Sprintf("%s does not answer: %v: remount it (umount -l %s && mount %s)", want.Path, err, want.Path, want.Path)}
	}
	if want.GID != nil {
		if a := group(want, *want.GID); a.Reason != "" {
			return a
		}
	}
	if want.Writable {
		return writable(want)
	}
	return answer{}
}

func group(want request, gid int) answer {
	info, err := os.Stat(want.Path)
	if err != nil {
		return answer{Reason: api.ReasonMountMissing, Message: fmt.Sprintf("look at %s: %v", want.Path, cause(err))}
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int64(stat.Gid) != int64(gid) {
		return answer{Reason: api.ReasonMountGroup, Message: fmt.Sprintf("%s belongs to group %d, wanted is %d: run `chgrp %d %s` on the file server", want.Path, stat.Gid, gid, gid, want.Path)}
	}
	if mode := info.Mode(); want.Writable && (mode.Perm()&0o070 != 0o070 || mode&fs.ModeSetgid == 0) {
		return answer{Reason: api.ReasonMountGroup, Message: fmt.Sprintf("%s has mode %s: group %d must be able to write, and new files must belong to it: run `chmod g+rwxs %s` on the file server", want.Path, mode, gid, want.Path)}
	}
	return answer{}
}

func writable(want request) answer {
	if want.GID != nil {
		// NFS servers map root to nobody, who can write by the group only. Both calls
		// fail where the agent is not root; then its own groups have to do.
		_ = syscall.Setgroups([]int{*want.GID})
		_ = syscall.Setgid(*want.GID)
	}
	name := filepath.Join(want.Path, ".ktrdr-probe-"+rand.Text())
	if err := writeOnce(name); err != nil {
		return answer{Reason: api.ReasonMountReadOnly, Message: fmt.Sprintf("write to %s: %v: %s", want.Path, cause(err), writeFix(err))}
	}
	return answer{}
}

// writeOnce makes and removes a file. Sync matters: NFS reports a full or refused write
// no sooner.
func writeOnce(name string) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString("ktrdr\n")
	return errors.Join(err, file.Sync(), file.Close(), os.Remove(name))
}

func writeFix(err error) string {
	switch {
	case errors.Is(err, syscall.EROFS):
		return "it is mounted read-only: check the export and remount it read-write"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free some space on the file server"
	case errors.Is(err, fs.ErrPermission):
		return "check the export's options (root_squash, rw) and the folder's owner, group and mode"
	}
	return "check the file server"
}

// cause drops the path of the error, which holds a random name.
func cause(err error) error {
	if at, found := errors.AsType[*fs.PathError](err); found {
		return at.Err
	}
	return err
}
