package sourcetest

import "syscall"

// mountSmall puts a file system of 1 MiB at dir and returns how to take it away.
func mountSmall(dir string) (unmount func() error, err error) {
	err = syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m")
	return func() error { return syscall.Unmount(dir, syscall.MNT_DETACH) }, err
}
