package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxOutput bounds what a run of git returns where nothing else is said, in bytes.
const maxOutput = 16 << 20

// maxSaid bounds what git says on its error output.
const maxSaid = 16 << 10

// git runs the program on one bare repository.
type git struct {
	program, dir, home string
	timeout            time.Duration
}

// run describes one run.
type run struct {
	args  []string
	env   []string
	stdin io.Reader
	// max bounds the output. Default maxOutput.
	max int64
	// stdout, when not nil, gets the output instead, unbounded.
	stdout io.Writer
	// timeout is instead of the usual one when it is not 0.
	timeout time.Duration
}

// errTooMuch: git wrote more than it may.
var errTooMuch = errors.New("more output than the limit")

// gitError is what git ended with.
type gitError struct {
	what string
	said string
	err  error
}

func (e *gitError) Error() string {
	text := "git " + e.what + ": " + e.err.Error()
	if e.said != "" {
		text += ": " + e.said
	}
	return text
}

func (e *gitError) Unwrap() error { return e.err }

// newGit finds the program and makes the empty home that it runs in.
func newGit(program, dir, home string, timeout time.Duration) (*git, error) {
	if program == "" {
		program = "git"
	}
	found, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("find the git program (install git 2.36 or newer): %w", err)
	}
	if found, err = filepath.Abs(found); err != nil {
		return nil, fmt.Errorf("find the git program: %w", err)
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, fmt.Errorf("make an empty home for git: %w", err)
	}
	return &git{program: found, dir: dir, home: home, timeout: timeout}, nil
}

// environment is all that git knows of the machine: nobody's configuration counts, and no
// transport is allowed.
func (g *git) environment(more ...string) []string {
	return append([]string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + g.home, "XDG_CONFIG_HOME=" + g.home,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_ALLOW_PROTOCOL=", "GIT_NO_REPLACE_OBJECTS=1", "GIT_OPTIONAL_LOCKS=0", "GIT_DIR=" + g.dir, "LC_ALL=C", "TZ=UTC",
	}, more...)
}

// do runs git and returns its output. It ends with ctx and with the limits, and takes its
// children with it.
func (g *git) do(ctx context.Context, r run) ([]byte, error) {
	if r.timeout == 0 {
		r.timeout = g.timeout
	}
	if r.max == 0 {
		r.max = maxOutput
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	args := append([]string{"-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "core.fsmonitor=false"}, r.args...)
	cmd := exec.CommandContext(ctx, g.program, args...) //nolint:gosec // the configured git, no shell, arguments checked by the callers
	cmd.Env, cmd.Dir, cmd.Stdin = g.environment(r.env...), g.home, r.stdin
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	said := &bounded{left: maxSaid, drop: true}
	out := &bounded{left: r.max, full: cancel}
	cmd.Stdout, cmd.Stderr = out, said
	if r.stdout != nil {
		cmd.Stdout = r.stdout
	}
	err := cmd.Run()
	switch {
	case out.over:
		err = errTooMuch
	case err != nil && ctx.Err() != nil:
		err = ctx.Err()
	}
	if err != nil {
		return out.buf.Bytes(), &gitError{what: r.args[0], said: oneLine(said.buf.String()), err: err}
	}
	return out.buf.Bytes(), nil
}

// line runs git and returns its output without the last line break.
func (g *git) line(ctx context.Context, args ...string) (string, error) {
	out, err := g.do(ctx, run{args: args})
	return strings.TrimSuffix(string(out), "\n"), err
}

// bounded keeps the first bytes. Over its limit it drops the rest or ends the program.
type bounded struct {
	buf  bytes.Buffer
	left int64
	drop bool
	over bool
	full func()
}

func (b *bounded) Write(p []byte) (int, error) {
	kept := p[:min(int64(len(p)), b.left)]
	b.left -= int64(len(kept))
	b.buf.Write(kept)
	if len(kept) < len(p) && !b.drop {
		b.over = true
		b.full()
		return len(kept), errTooMuch
	}
	return len(p), nil
}

// exitCode is what git ended with by itself, or -1.
func exitCode(err error) int {
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return ended.ExitCode()
	}
	return -1
}
