package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ktrdr.io/fleet/test/demo/image"
	"ktrdr.io/fleet/test/lab"
)

// binaries are built once for all tests.
var binaries struct{ agent, ctl, program, exec string } //nolint:gochecknoglobals // set by TestMain before any test runs

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if testing.Short() {
		fmt.Println("SKIPPED: -short: these tests need a Docker engine and minutes")
		return 0
	}
	if !machine().answers() {
		fmt.Println("SKIPPED: no Docker engine answers on /var/run/docker.sock; `make test` starts one")
		return 0
	}
	// Most of the time is waiting, so more tests run at once than there are CPUs.
	if flag.Lookup("test.parallel").Value.String() == flag.Lookup("test.parallel").DefValue {
		_ = flag.Set("test.parallel", "6")
	}
	dir, err := os.MkdirTemp("", "ktrdr-e2e-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	unlock, err := alone()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer unlock()
	if err := prepare(dir); err != nil {
		fmt.Println(err)
		return 1
	}
	machine().sweepAll(prefix)
	if err := lab.Sweep(); err != nil {
		fmt.Println("remove nodes of an aborted run:", err)
		return 1
	}
	code := m.Run()
	machine().sweepAll(prefix)
	return code
}

// alone waits until no other run of these tests is under way on the machine: each removes
// what it takes for left over.
func alone() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "ktrdr-e2e.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("wait for another run: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

// prepare builds what is tested and loads the demonstration images. KTRDR_E2E_BINARIES
// names a folder that already has the programs.
func prepare(dir string) error {
	ready := os.Getenv("KTRDR_E2E_BINARIES")
	if ready != "" {
		dir = ready
	}
	binaries.agent, binaries.ctl = filepath.Join(dir, "ktrdr-agent"), filepath.Join(dir, "ktrdrctl")
	binaries.program, binaries.exec = filepath.Join(dir, "ktrdrsim"), filepath.Join(dir, "ktrdr-exec")
	for path, pkg := range map[string]string{
		binaries.agent: "cmd/agent", binaries.ctl: "cmd/ctl", binaries.program: "test/demo/ktrdrsim", binaries.exec: "cmd/exec",
	} {
		if ready != "" {
			break
		}
		cmd := exec.Command("go", "build", "-o", path, "ktrdr.io/fleet/"+pkg) //nolint:noctx // bounded by the test's own time limit
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if msg, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, msg)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if _, err := image.Build(ctx, image.Options{Program: binaries.program}); err != nil {
		return fmt.Errorf("make demonstration images: %w", err)
	}
	return nil
}
