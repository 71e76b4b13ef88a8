package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asProgram makes the test program be the agent, or one that keeps nothing out of core files.
const asProgram = "KTRDR_TEST_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "agent":
		main()
	case "other":
		time.Sleep(time.Hour)
	default:
		os.Exit(m.Run())
	}
}

// TestNoCore: an agent that is made to dump core leaves none, even where it was started
// without a limit; another program does in the same place.
func TestNoCore(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: raising the limit of core files needs root")
	}
	if pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern"); err != nil || strings.ContainsAny(string(pattern), "|/") {
		t.Skipf("SKIPPED: this kernel puts core files elsewhere: %s %v", pattern, err)
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &before); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &before) })
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}); err != nil { // inherited
		t.Skipf("SKIPPED: the limit of core files can't be raised: %v", err)
	}
	if len(dump(t, "other")) == 0 {
		t.Skip("SKIPPED: this machine writes no core files")
	}
	if left := dump(t, "agent"); len(left) > 0 {
		t.Errorf("the agent left %v", left)
	}
}

// dump starts a program, lets it dump core and returns the core files.
func dump(t *testing.T, as string) []string {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "agent.yaml")
	if err := os.Mkdir(filepath.Join(dir, "repo"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := "node: n\nstateDir: " + dir + "/state\nsecretsDir: " + dir + "/ram\nsocket: " + dir + "/s\nlisten: \"\"\nengine: {host: unix://" + dir + "/none}\nsource: {dir: {path: " + dir + "/repo}}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "run", "--config", config) //nolint:gosec // this program
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asProgram+"="+as, "GOTRACEBACK=crash")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitStart(t, dir, as, cmd.Process.Pid)
	if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // by the signal
	cores, err := filepath.Glob(filepath.Join(dir, "core*"))
	if err != nil {
		t.Fatal(err)
	}
	return cores
}

// awaitStart waits until an agent listens, and any other program catches signals.
func awaitStart(t *testing.T, dir, as string, pid int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		ready := false
		if as == "agent" {
			_, err := os.Stat(filepath.Join(dir, "s"))
			ready = err == nil
		} else {
			status, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
			_, caught, _ := strings.Cut(string(status), "SigCgt:\t")
			ready = caught != "" && !strings.HasPrefix(caught, "0000000000000000")
		}
		if ready {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not start", as)
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // between two looks
	}
}
