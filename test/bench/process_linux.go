package main

import (
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endWithUs lets the kernel kill the agent when this program is killed: one that stays would
// go on to repair the containers that the next run removes.
func endWithUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// awaitExit opens a pidfd and returns a channel that gets the time at which it told that
// the process is gone.
func awaitExit(pid int) (<-chan time.Time, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	ended := make(chan time.Time, 1)
	go func() {
		defer func() { _ = unix.Close(fd) }()
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if n > 0 || err != nil && err != unix.EINTR { //nolint:errorlint // an errno is never wrapped here
				ended <- time.Now()
				return
			}
		}
	}()
	return ended, nil
}
