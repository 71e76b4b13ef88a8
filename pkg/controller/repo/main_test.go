package repo_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"ktrdr.io/fleet/test/leaks"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashServer); dir != "" {
		os.Exit(serveAndCrash(dir, os.Getenv(crashAt)))
	}
	leaks.Main(m)
}

func startGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
