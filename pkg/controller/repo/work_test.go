package repo_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/controller/repo"
)

// work is an operator's clone, used with the real git program.
type work struct {
	tb        testing.TB
	home, dir string
	env       []string
}

func newWork(tb testing.TB) *work {
	tb.Helper()
	home := tb.TempDir()
	w := &work{tb: tb, home: home, dir: filepath.Join(home, "work")}
	w.git("init", "-q", "-b", "main", w.dir)
	return w
}

// command is git without anybody's configuration.
func (w *work) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...) //nolint:gosec // a test's arguments
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.home, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.org", "LC_ALL=C",
	}, w.env...)
	if _, err := os.Stat(w.dir); err == nil {
		cmd.Dir = w.dir
	}
	return cmd
}

// git runs it and wants success.
func (w *work) git(args ...string) string {
	w.tb.Helper()
	out, err := w.try(args...)
	if err != nil {
		w.tb.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// try runs it and returns all it says.
func (w *work) try(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := w.command(context.Background(), args...) //nolint:usetesting // also runs in cleanups
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// feed is git with a standard input.
func (w *work) feed(stdin string, args ...string) {
	w.tb.Helper()
	cmd := w.command(context.Background(), args...) //nolint:usetesting // as in try
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.tb.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// sample puts the sample repository into the clone and commits it.
func (w *work) sample() string {
	w.tb.Helper()
	if err := os.CopyFS(w.dir, os.DirFS("../../../desired-state")); err != nil {
		w.tb.Fatal(err)
	}
	return w.commit("sample")
}

func (w *work) write(name, text string) {
	w.tb.Helper()
	file := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		w.tb.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *work) replace(name, old, text string) {
	w.tb.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil || !strings.Contains(string(data), old) {
		w.tb.Fatalf("%s has no %q: %v", name, old, err)
	}
	w.write(name, strings.Replace(string(data), old, text, 1))
}

func (w *work) commit(message string) string {
	w.tb.Helper()
	w.git("add", "--all")
	w.git("commit", "-q", "--allow-empty", "-m", message)
	return w.git("rev-parse", "HEAD")
}

// config is a hosted repository's for tests.
func config(tb testing.TB, g *gate) repo.HostedConfig {
	tb.Helper()
	return repo.HostedConfig{Dir: filepath.Join(tb.TempDir(), "state"), Gate: g, Head: g.head}
}

func open(tb testing.TB, cfg repo.HostedConfig) *repo.Hosted {
	tb.Helper()
	h, err := repo.OpenHosted(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// seeded is a hosted repository with the sample in it, put there as a first push would.
func seeded(tb testing.TB) (*repo.Hosted, *gate, string) {
	tb.Helper()
	g := newGate(tb)
	cfg := config(tb, g)
	first := seed(tb, cfg.Dir)
	h := open(tb, cfg)
	return h, g, first
}

// seed makes the repository's folder with the sample on its branch, and no head.
func seed(tb testing.TB, dir string) string {
	tb.Helper()
	w := newWork(tb)
	id := w.sample()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	w.git("clone", "-q", "--bare", "--no-local", w.dir, filepath.Join(dir, "desired-state.git"))
	return id
}
