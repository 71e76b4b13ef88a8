package fleet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// operator is a person on the network with ktrdrctl, a context and a clone.
type operator struct {
	name, home, clone string
}

// newOperator gives a person what `ktrdr-controller init` or `ktrdrctl operator add` wrote,
// and a clone that is set up for the controller's repository.
func newOperator(name, credentials string) (*operator, error) {
	o := &operator{name: name, home: filepath.Join(world.dir, "operators", name)}
	o.clone = filepath.Join(o.home, "desired-state")
	if err := os.MkdirAll(o.clone, 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := contextFor(limit)
	defer cancel()
	for _, args := range [][]string{
		{"ktrdrctl", "context", "add", "home", "--from", credentials},
		{"git", "init", "--quiet", "--initial-branch=main"},
		{"git", "config", "user.name", name},
		{"git", "config", "user.email", name + "@example.org"},
		{"ktrdrctl", "git", "setup"},
	} {
		if out, err := o.command(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %v: %w: %s", name, args, err, out)
		}
	}
	return o, nil
}

// command prepares a program that runs in the clone, with nothing of this machine's
// configuration and environment but the mark of the network.
func (o *operator) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	if program == "ktrdrctl" {
		program = filepath.Join(world.dir, "bin/ktrdrctl")
	}
	cmd := world.network.CommandIn(ctx, o.clone, program, args...)
	cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool { return !strings.HasPrefix(v, "KTRDR_LAB=") })
	cmd.Env = append(cmd.Env, "HOME="+o.home, "XDG_CONFIG_HOME="+o.home, "KTRDR_CONFIG="+o.home+"/config",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"PATH="+filepath.Join(world.dir, "bin")+":"+os.Getenv("PATH"))
	return cmd
}

// answer is what a program said and how it ended.
type answer struct {
	out  string // standard output, then standard error
	code int
}

func (a answer) String() string { return fmt.Sprintf("exit code %d: %s", a.code, a.out) }

func (o *operator) try(program string, args ...string) answer {
	ctx, cancel := contextFor(limit)
	defer cancel()
	var out, notes bytes.Buffer
	cmd := o.command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &notes
	// git's children go with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	a := answer{out: strings.TrimSpace(out.String() + notes.String())}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		a.code = exit.ExitCode()
	} else if err != nil {
		a.code, a.out = -1, a.out+err.Error()
	}
	return a
}

// ctl runs ktrdrctl and wants a code.
func (o *operator) ctl(t *testing.T, code int, args ...string) string {
	t.Helper()
	a := o.try("ktrdrctl", args...)
	if a.code != code {
		t.Fatalf("ktrdrctl %s: %s\nwanted exit code %d", strings.Join(args, " "), a, code)
	}
	return a.out
}

// git runs git in the clone and wants it to work.
func (o *operator) git(t *testing.T, args ...string) string {
	t.Helper()
	a := o.try("git", args...)
	if a.code != 0 {
		t.Fatalf("git %s: %s", strings.Join(args, " "), a)
	}
	return a.out
}

// remote is the controller's repository.
const remote = "desired-state"

// pull brings the clone to the head, whatever was done to it.
func (o *operator) pull(t *testing.T) {
	t.Helper()
	o.git(t, "fetch", "--quiet", remote)
	o.git(t, "reset", "--quiet", "--hard", remote+"/main")
	o.git(t, "clean", "--quiet", "-fd")
}

// edit changes files of the clone.
func (o *operator) edit(t *testing.T, edits ...edit) {
	t.Helper()
	for _, e := range edits {
		if err := e.apply(o.clone); err != nil {
			t.Fatal(err)
		}
	}
}

// commit makes a commit of all that differs and returns it.
func (o *operator) commit(t *testing.T, message string) string {
	t.Helper()
	o.git(t, "add", "--all")
	o.git(t, "commit", "--quiet", "--message", message)
	return o.git(t, "rev-parse", "HEAD")
}

// push commits, pushes and waits as git does, until the controller has told all of it.
func (o *operator) push(t *testing.T, message string) (revision string, a answer) {
	t.Helper()
	revision = o.commit(t, message)
	return revision, o.try("git", "push", remote, "main")
}

// pushed is push that has to be accepted.
func (o *operator) pushed(t *testing.T, message string) (revision, said string) {
	t.Helper()
	revision, a := o.push(t, message)
	if a.code != 0 {
		t.Fatalf("git push: %s", a)
	}
	return revision, a.out
}

// brought pulls, edits and pushes, without waiting for what comes of it.
func (o *operator) brought(t *testing.T, message string, edits ...edit) (revision string) {
	t.Helper()
	o.pull(t)
	o.edit(t, edits...)
	revision = o.commit(t, message)
	if a := o.try("git", "push", "-o", "nowait", remote, "main"); a.code != 0 {
		t.Fatalf("git push: %s", a)
	}
	return revision
}

// status is the fleet as ktrdrctl tells it.
func (o *operator) status(t *testing.T) document {
	t.Helper()
	d, err := o.tryStatus()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (o *operator) tryStatus() (document, error) {
	ctx, cancel := contextFor(limit)
	defer cancel()
	out, err := o.command(ctx, "ktrdrctl", "status", "--output", "json").Output()
	var d document
	if len(out) == 0 {
		return d, fmt.Errorf("ktrdrctl status: %w", err)
	}
	err = json.Unmarshal(out, &d)
	return d, err
}

// pullAndDiff brings the clone to the head and compares it with a revision.
func (o *operator) pullAndDiff(t *testing.T, revision string) string {
	t.Helper()
	o.pull(t)
	return o.git(t, "diff", "--stat", revision, "HEAD")
}
