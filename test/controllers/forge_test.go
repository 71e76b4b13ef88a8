package controllers_test

import (
	"context"
	"encoding/pem"
	"io"
	stdlog "log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// forge is the remote repository that everybody follows, and a person's clone of it.
type forge struct {
	t                         testing.TB
	dir, bare, clone, ca, pat string
	server                    *httptest.Server
}

const forgeToken = "forge-token"

func newForge(t testing.TB) *forge {
	t.Helper()
	dir := t.TempDir()
	f := &forge{t: t, dir: dir, bare: filepath.Join(dir, "srv", "fleet.git"), clone: filepath.Join(dir, "clone"), ca: filepath.Join(dir, "ca.pem"), pat: filepath.Join(dir, "token")}
	must(t, os.MkdirAll(f.clone, 0o700))
	f.git("init", "--quiet", "--bare", "--initial-branch=main", f.bare)
	f.git("--git-dir", f.bare, "config", "http.receivepack", "true")
	f.git("init", "--quiet", "--initial-branch=main")
	f.git("remote", "add", "origin", f.bare)
	programs, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	must(t, err)
	backend := &cgi.Handler{
		Path:   filepath.Join(strings.TrimSpace(string(programs)), "git-http-backend"),
		Env:    []string{"GIT_PROJECT_ROOT=" + filepath.Dir(f.bare), "GIT_HTTP_EXPORT_ALL=1", "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "REMOTE_USER=x"},
		Stderr: io.Discard, Logger: stdlog.New(io.Discard, "", 0),
	}
	f.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != forgeToken {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	f.server.Config.ErrorLog = stdlog.New(io.Discard, "", 0)
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.server.Certificate().Raw})
	must(t, os.WriteFile(f.ca, certificate, 0o600))
	must(t, os.WriteFile(f.pat, []byte(forgeToken+"\n"), 0o600))
	return f
}

func (f *forge) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.t.Context()), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = f.clone
	cmd.Env = append(os.Environ(), "HOME="+f.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Karl", "GIT_AUTHOR_EMAIL=karl@example.org", "GIT_COMMITTER_NAME=Karl", "GIT_COMMITTER_EMAIL=karl@example.org")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (f *forge) git(args ...string) string {
	f.t.Helper()
	out, err := f.run(args...)
	if err != nil {
		f.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// push commits files in the clone and pushes them, again on top of what others pushed.
func (f *forge) push(message string, files map[string]string) string {
	f.t.Helper()
	for name, content := range files {
		path := filepath.Join(f.clone, name)
		must(f.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(f.t, os.WriteFile(path, []byte(content), 0o600))
	}
	f.git("add", "-A")
	f.git("commit", "--quiet", "-m", message)
	for {
		if _, err := f.run("push", "--quiet", "origin", "main"); err == nil {
			return f.git("rev-parse", "HEAD")
		}
		f.git("pull", "--quiet", "--rebase", "origin", "main")
	}
}

// history are the commits of the remote branch, the oldest first.
func (f *forge) history() []string {
	f.t.Helper()
	return strings.Fields(f.git("--git-dir", f.bare, "rev-list", "--reverse", "main"))
}

// file is a file's content in a revision.
func (f *forge) file(revision, path string) string {
	f.t.Helper()
	return f.git("--git-dir", f.bare, "show", revision+":"+path)
}
