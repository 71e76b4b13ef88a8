package lab

import (
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// listenIn listens in another network namespace. A socket stays where it was made, so
// only its making needs a thread there, which is thrown away afterwards.
func listenIn(namespace, address string) (net.Listener, error) {
	type answer struct {
		listener net.Listener
		err      error
	}
	answers := make(chan answer, 1)
	go func() {
		runtime.LockOSThread()        // never unlocked: the thread ends with this goroutine
		ns, err := os.Open(namespace) //nolint:gosec // of a process that this package has started
		if err != nil {
			answers <- answer{err: fmt.Errorf("open network namespace: %w", err)}
			return
		}
		defer ns.Close()                                                    //nolint:errcheck // only read
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil { //nolint:gosec // a descriptor fits
			answers <- answer{err: fmt.Errorf("enter network namespace: %w", err)}
			return
		}
		listener, err := net.Listen("tcp", address) //nolint:noctx // returns at once
		answers <- answer{listener, err}
	}()
	got := <-answers
	return got.listener, got.err
}
