package ctl_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ktrdr.io/fleet/test/port"
)

// TestAgainstController runs scripts against a real controller with its own store and
// repository, real git, and agents that report what they are told as converged (test/swarm).
// Beside the commands of TestScripts:
//
//	await CODE ARGS…  run ktrdrctl until it ends with that code
func TestAgainstController(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a controller")
	}
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git")
	}
	programs := t.TempDir()
	for _, pkg := range []string{"cmd/controller", "test/swarm"} {
		out, err := exec.Command("go", "build", "-o", filepath.Join(programs, filepath.Base(pkg)), "ktrdr.io/fleet/"+pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
	}
	desired, err := filepath.Abs("../../desired-state")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/real",
		Setup: func(env *testscript.Env) error {
			address := port.Reserve(t)
			for name, value := range map[string]string{
				"PATH": programs + string(filepath.ListSeparator) + env.Getenv("PATH"), "KTRDR_CONFIG": filepath.Join(env.WorkDir, "conf"), "KTRDR_AGENT": "",
				"HOME": env.WorkDir, "GIT_CONFIG_NOSYSTEM": "1", "NO_COLOR": "1", "TZ": "UTC",
				"DESIRED": desired, "CONTROLLER": strings.Replace(address, "127.0.0.1", "localhost", 1),
			} {
				env.Setenv(name, value)
			}
			config := fmt.Sprintf("listen: %s\nnames: [localhost]\nips: [127.0.0.1]\nstateDir: %s\nmetrics: \"\"\n", address, filepath.Join(env.WorkDir, "state"))
			env.Values[fleetKey{}] = &fleet{}
			return os.WriteFile(filepath.Join(env.WorkDir, "controller.yaml"), []byte(config), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit": cmdExit, "start": cmdStart, "poll": cmdPoll, "ended": cmdEnded, "interrupt": cmdInterrupt, "await": cmdAwait, "shows": cmdShows,
		},
	})
}

func cmdAwait(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; <-time.After(200 * time.Millisecond) {
		err := ts.Exec("ktrdrctl", args[1:]...)
		got := 0
		var exit interface{ ExitCode() int }
		if errors.As(err, &exit) {
			got = exit.ExitCode()
		}
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("exit code %d, want %d\n%s%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		}
	}
}

func cmdShows(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[0])
	for deadline := time.Now().Add(patience); ; <-time.After(200 * time.Millisecond) {
		_ = ts.Exec("ktrdrctl", args[1:]...) // however it ends
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no %q in\n%s%s", args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		}
	}
}
