package deliver

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// mountOptions bound all secrets of a node: a thousand containers fit. Pages count for the
// agent's own memory limit.
const mountOptions = "mode=0700,size=32m,nr_inodes=64k"

// inMemory says whether dir is on a tmpfs.
func inMemory(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("secrets folder %s: %w", dir, err)
	}
	if st.Type != unix.TMPFS_MAGIC {
		return fmt.Errorf("secrets folder %s is on a disk, not on a tmpfs: nothing is written there", dir)
	}
	return nil
}

// Mount makes dir a tmpfs of its own that is never swapped, where the kernel can promise
// that. One that is mounted already is left alone. It needs root in the mount namespace
// of the engine.
func Mount(dir string) error {
	if mounted, err := isMount(dir); err != nil || mounted {
		return errors.Join(err, inMemory(dir))
	}
	if err := makeRoot(dir); err != nil {
		return err
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	err := unix.Mount("tmpfs", dir, "tmpfs", flags, mountOptions+",noswap")
	if errors.Is(err, unix.EINVAL) { // before Linux 6.4, or in a user namespace
		err = unix.Mount("tmpfs", dir, "tmpfs", flags, mountOptions)
	}
	if err != nil {
		return fmt.Errorf("secrets folder %s has to be a tmpfs, and this process can't mount one (%w): run `ktrdr-agent prepare` as root on the host, as the unit does before it starts the agent", dir, err)
	}
	return nil
}

// MountOnHost is Mount in the mount namespace of process 1. Systemd gives each service one
// of its own, also commands with "+" (systemd 252): what is mounted there, no engine sees.
func MountOnHost(dir string) error {
	failed := make(chan error, 1)
	go func() {
		// The thread stays in the other namespace, so it ends with this goroutine.
		runtime.LockOSThread()
		err := enterHost()
		if err == nil {
			err = Mount(dir)
		}
		failed <- err
	}()
	return <-failed
}

// enterHost moves the thread. Threads share a root and a working directory, which have to
// be its own before.
func enterHost() error {
	const host = "/proc/1/ns/mnt"
	ours, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		return fmt.Errorf("find this process's mounts: %w", err)
	}
	if theirs, err := os.Readlink(host); err != nil || theirs == ours {
		return err
	}
	ns, err := os.Open(host)
	if err != nil {
		return fmt.Errorf("find the host's mounts: %w", err)
	}
	defer ns.Close() //nolint:errcheck // only read
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leave this process's mounts: %w", err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil { //nolint:gosec // a file descriptor
		return fmt.Errorf("enter the host's mounts, which takes root: %w", err)
	}
	return nil
}

// isMount tells whether dir is a mount point; one that does not exist is none.
func isMount(dir string) (bool, error) {
	_, found, err := mountLine(dir)
	return found, err
}

// hasNoswap tells whether the tmpfs of dir is kept out of swap.
func hasNoswap(dir string) bool {
	line, found, err := mountLine(dir)
	_, options, _ := strings.Cut(line, " - ")
	return err == nil && found && strings.Contains(options, "noswap")
}

// mountLine finds the last mount on dir. Source: proc_pid_mountinfo(5).
func mountLine(dir string) (line string, found bool, err error) {
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return "", false, fmt.Errorf("read mounts: %w", err)
	}
	for each := range strings.Lines(string(data)) {
		if fields := strings.Fields(each); len(fields) > 4 && unescape(fields[4]) == dir {
			line, found = each, true
		}
	}
	return line, found, nil
}

// unescape reads the octal escapes of mountinfo.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// mayExec tells whether programs below dir can be run.
func mayExec(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		return errors.New("it is mounted noexec, so that containers can't run ktrdr-exec from there: set stateDir to another file system")
	}
	return nil
}
