package lab

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// within runs do in another network namespace. Sockets and devices stay where they were
// made, so only their making needs a thread there, which is thrown away afterwards.
func within(namespace string, do func() error) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()        // never unlocked: the thread ends with this goroutine
		ns, err := os.Open(namespace) //nolint:gosec // of a process that this package has started
		if err != nil {
			ended <- fmt.Errorf("open network namespace: %w", err)
			return
		}
		defer ns.Close()                                                    //nolint:errcheck // only read
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil { //nolint:gosec // a descriptor fits
			ended <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		ended <- do()
	}()
	return <-ended
}

// openTap makes an Ethernet device whose frames are read and written here. It goes away
// when it is closed. Linux: Documentation/networking/tuntap.rst.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: TAP devices: %w", ErrUnavailable, err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("%w: make the TAP device %s: %w", ErrUnavailable, name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
