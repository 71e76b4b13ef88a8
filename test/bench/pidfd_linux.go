package main

import (
	"time"

	"golang.org/x/sys/unix"
)

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
