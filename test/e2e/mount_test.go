package e2e_test

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// sharing is an agent with one service on a required mount and one without.
func sharing(t *testing.T) (*agent, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: mounts need root")
	}
	a := newAgent(t, "", "")
	dir := filepath.Join(a.home, "share")
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // containers bind it
		t.Fatal(err)
	}
	a.node("stacks: [{name: app}]\nmounts: [{path: " + dir + ", type: tmpfs, writable: true, timeout: 1s}]")
	a.compose(`
services:
  user:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "user"]
    restart: unless-stopped
    healthcheck: {disable: true}
    volumes: ["` + dir + `:/data"]
  free:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "free"]
    restart: unless-stopped
    healthcheck: {disable: true}
`)
	return a, dir
}

func mountTmpfs(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Skipf("SKIPPED: can't mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// TestMountMissing is acceptance scenario 16 for a share that is not mounted.
func TestMountMissing(t *testing.T) {
	a, dir := sharing(t)
	a.start()
	waiting := func(st api.NodeStatus) bool {
		return service(st, a.name("free")).Converged && service(st, a.name("user")).Reason == api.ReasonMountMissing
	}
	a.await("one waits, the other runs", time.Minute, waiting)
	during(t, "nothing starts on the empty folder", 3*time.Second, func() bool { return !a.on.running(t, a.name("user")) })
	mountTmpfs(t, dir)
	began := time.Now()
	a.converged()
	t.Logf("converged %s after the mount came", time.Since(began).Round(time.Millisecond))

	// The share goes away under a running container: that is told, the container is left
	// alone, and one that ends is not started on the empty folder.
	if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	a.await("told", time.Minute, func(st api.NodeStatus) bool { return len(conditions(st, api.ReasonMountMissing)) > 0 })
	if !a.on.running(t, a.name("user")) {
		t.Error("a running container was stopped because its share went away")
	}
	a.on.remove(t, a.name("user"))
	a.await("waits again", time.Minute, waiting)
	during(t, "nothing starts on the empty folder", 2*time.Second, func() bool { return !a.on.running(t, a.name("user")) })
	mountTmpfs(t, dir)
	a.converged()
}

// TestMountHung is acceptance scenario 16 for a share whose server is dead.
func TestMountHung(t *testing.T) {
	a, dir := sharing(t)
	release := mountHanging(t, dir)
	a.start()
	a.await("one waits, the other runs", time.Minute, func(st api.NodeStatus) bool {
		svc := service(st, a.name("user"))
		return service(st, a.name("free")).Converged && (svc.Reason == api.ReasonMountHung || svc.Reason == api.ReasonMountMissing)
	})
	if code, _, err := a.ask(http.MethodGet, "/healthz"); err != nil || code != http.StatusOK {
		t.Errorf("/healthz with a hung share: %d %v", code, err)
	}
	free := a.on.must(t, a.name("free"))
	a.on.remove(t, a.name("free"))
	a.await("the other is still healed", time.Minute, func(st api.NodeStatus) bool {
		svc := service(st, a.name("free"))
		return svc.Converged && svc.ID != free.ID
	})
	if a.on.container(t, a.name("user")) != nil && a.on.running(t, a.name("user")) {
		t.Error("a container was started on a hung share")
	}
	release()
	mountTmpfs(t, dir)
	began := time.Now()
	a.converged()
	t.Logf("converged %s after the share came back", time.Since(began).Round(time.Millisecond))
}

// mountHanging mounts a FUSE file system whose server answers nothing but the first
// request, and returns what unmounts it. Source of the protocol: linux/fuse.h, 7.31.
func mountHanging(t *testing.T, dir string) (release func()) {
	t.Helper()
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("SKIPPED: a mount that hangs needs /dev/fuse: %v", err)
	}
	device := os.NewFile(uintptr(fd), "/dev/fuse")
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := syscall.Mount("nas:/export", dir, "fuse.hang", syscall.MS_NOSUID|syscall.MS_NODEV, options); err != nil {
		_ = device.Close()
		t.Skipf("SKIPPED: can't mount a FUSE file system here: %v", err)
	}
	served := make(chan struct{})
	go func() { defer close(served); serveInit(fd) }()
	release = sync.OnceFunc(func() {
		// MNT_FORCE aborts the connection: all who wait get an error.
		_ = syscall.Unmount(dir, syscall.MNT_FORCE|syscall.MNT_DETACH)
		<-served
		_ = device.Close()
	})
	t.Cleanup(release)
	return release
}

func serveInit(fd int) {
	const fuseInit = 26
	request := make([]byte, 1<<20)
	for {
		n, err := syscall.Read(fd, request)
		if err == syscall.EINTR || err == syscall.ENOENT { //nolint:errorlint // a bare errno
			continue
		}
		if err != nil {
			return // ENODEV: unmounted
		}
		if n >= 16 && binary.NativeEndian.Uint32(request[4:]) == fuseInit {
			reply := binary.NativeEndian.AppendUint32(nil, 80)
			reply = binary.NativeEndian.AppendUint32(reply, 0)
			reply = append(reply, request[8:16]...)
			reply = binary.NativeEndian.AppendUint32(reply, 7)
			reply = binary.NativeEndian.AppendUint32(reply, 31)
			_, _ = syscall.Write(fd, append(reply, make([]byte, 80-len(reply))...))
		}
	}
}
