package probe_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"
)

// hangFS is a FUSE file system whose server reads every request and answers none but the
// first: who touches it waits in a state that no signal ends, as on a dead NFS server.
// Source of the protocol: linux/fuse.h, version 7.
type hangFS struct {
	dir     string
	device  *os.File
	release func()
	// touched says that somebody waits for an answer.
	touched atomic.Bool
}

const fuseInit = 26

func mountHangFS(t *testing.T) *hangFS {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: a mount that hangs needs root")
	}
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("SKIPPED: a mount that hangs needs /dev/fuse: %v", err)
	}
	h := &hangFS{dir: t.TempDir(), device: os.NewFile(uintptr(fd), "/dev/fuse")}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := syscall.Mount("nas:/export", h.dir, "fuse.hang", syscall.MS_NOSUID|syscall.MS_NODEV, options); err != nil {
		_ = h.device.Close()
		t.Skipf("SKIPPED: can't mount a FUSE file system here: %v", err)
	}
	served := make(chan struct{})
	go func() { defer close(served); h.serve(fd) }()
	h.release = sync.OnceFunc(func() {
		// MNT_FORCE aborts the connection: all who wait get an error.
		_ = syscall.Unmount(h.dir, syscall.MNT_FORCE|syscall.MNT_DETACH)
		<-served
		_ = h.device.Close()
	})
	t.Cleanup(h.release)
	return h
}

func (h *hangFS) serve(fd int) {
	request := make([]byte, 1<<20)
	for {
		n, err := syscall.Read(fd, request)
		if err == syscall.EINTR || err == syscall.ENOENT {
			continue
		}
		if err != nil {
			return // ENODEV: unmounted
		}
		if n >= 16 && binary.NativeEndian.Uint32(request[4:]) == fuseInit {
			_, _ = syscall.Write(fd, initReply(binary.NativeEndian.Uint64(request[8:])))
			continue
		}
		h.touched.Store(true)
	}
}

func initReply(unique uint64) []byte {
	reply := struct {
		length  uint32
		failure int32
		unique  uint64
		major   uint32
		minor   uint32
		rest    [56]byte
	}{unique: unique, major: 7, minor: 31}
	reply.length = uint32(unsafe.Sizeof(reply))
	return unsafe.Slice((*byte)(unsafe.Pointer(&reply)), unsafe.Sizeof(reply))
}
