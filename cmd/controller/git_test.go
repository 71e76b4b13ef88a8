package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// git runs the real program in the operator's clone.
func (s *site) git(args ...string) (string, error) {
	s.t.Helper()
	if s.workdir == "" {
		s.workdir = filepath.Join(s.dir, "clone")
		must(s.t, os.Mkdir(s.workdir, 0o700))
		must(s.t, os.WriteFile(filepath.Join(s.dir, "ca.pem"), s.authority, 0o600))
		s.mustGit("init", "--quiet", "--initial-branch=main")
		s.mustGit("remote", "add", "desired-state", "https://"+s.addr+"/git/desired-state.git")
	}
	return s.gitAs(s.token, args...)
}

func (s *site) gitAs(token string, args ...string) (string, error) {
	s.t.Helper()
	var out said
	err := s.gitTo(&out, token, args...)
	return out.String(), err
}

// gitTo is gitAs with what git says while it says it.
func (s *site) gitTo(out io.Writer, token string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = s.workdir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_SSL_CAINFO="+filepath.Join(s.dir, "ca.pem"), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: Bearer "+token,
		"GIT_AUTHOR_NAME=Karl", "GIT_AUTHOR_EMAIL=karl@example.org", "GIT_COMMITTER_NAME=Karl", "GIT_COMMITTER_EMAIL=karl@example.org")
	cmd.Stdout, cmd.Stderr = out, out
	return cmd.Run()
}

func (s *site) mustGit(args ...string) string {
	s.t.Helper()
	out, err := s.git(args...)
	if err != nil {
		s.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// write puts files into the clone and commits them.
func (s *site) write(message string, files map[string]string) string {
	s.t.Helper()
	if s.workdir == "" {
		s.mustGit("status")
	}
	for name, content := range files {
		path := filepath.Join(s.workdir, name)
		must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(s.t, os.WriteFile(path, []byte(content), 0o600))
	}
	s.mustGit("add", "-A")
	s.mustGit("commit", "--quiet", "--allow-empty", "-m", message)
	return s.mustGit("rev-parse", "HEAD")
}

func (s *site) push() (string, error) {
	s.t.Helper()
	return s.git("push", "desired-state", "main")
}
