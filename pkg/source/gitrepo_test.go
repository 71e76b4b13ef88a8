package source_test

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/source/sourcetest"
)

// gitRepo is a bare repository and a work tree beside it, made with the git program.
type gitRepo struct {
	base, work, bare string
	// reach makes a configuration that reaches the repository over one transport.
	reach func(t testing.TB) source.GitConfig
	// hide makes it unreachable.
	hide func(t testing.TB) func()
}

func newGitRepo(t testing.TB) *gitRepo {
	t.Helper()
	base := t.TempDir()
	r := &gitRepo{base: base, work: filepath.Join(base, "work"), bare: filepath.Join(base, "srv", "fleet.git")}
	r.git(t, "", "init", "-q", "--bare", "-b", "main", r.bare)
	if err := os.Mkdir(r.work, 0o755); err != nil {
		t.Fatal(err)
	}
	r.reach = func(testing.TB) source.GitConfig { return source.GitConfig{URL: "file://" + r.bare} }
	r.hide = func(t testing.TB) func() { return moveAway(t, r.bare) }
	return r
}

func moveAway(t testing.TB, p string) func() {
	t.Helper()
	if err := os.Rename(p, p+".away"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Rename(p+".away", p); err != nil {
			t.Fatal(err)
		}
	}
}

// gitEnv cuts git off from the user's and the machine's configuration.
func gitEnv(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.org",
	}
}

func (r *gitRepo) git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "gc.auto=0", "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Dir, cmd.Env = dir, gitEnv(r.base)
	if dir == r.work {
		cmd.Env = append(cmd.Env, "GIT_DIR="+r.bare, "GIT_WORK_TREE="+r.work)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Publish implements sourcetest.Origin.
func (r *gitRepo) Publish(t testing.TB, changes sourcetest.Files) { r.commit(t, changes) }

// commit commits to the bare repository directly, which saves the push, and returns the commit.
func (r *gitRepo) commit(t testing.TB, changes sourcetest.Files, args ...string) string {
	t.Helper()
	sourcetest.WriteTo(t, r.work, changes)
	r.git(t, r.work, "add", "--all")
	r.git(t, r.work, append([]string{"commit", "-q", "--allow-empty", "-m", "change"}, args...)...)
	return r.head(t)
}

// head reads the branch without starting a program.
func (r *gitRepo) head(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.bare, "refs/heads/main"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// Hide implements sourcetest.Origin.
func (r *gitRepo) Hide(t testing.TB) func() { return r.hide(t) }

// Open implements sourcetest.Origin.
func (r *gitRepo) Open(t testing.TB, o sourcetest.Options) source.Source {
	t.Helper()
	cfg := r.reach(t)
	cfg.Path, cfg.CacheDir, cfg.Limits = o.Path, o.CacheDir, o.Limits
	g, err := source.NewGit(cfg)
	if err != nil {
		t.Fatalf("NewGit: %v", err)
	}
	return g
}

// open makes a source with the configuration that edit changed.
func (r *gitRepo) open(t testing.TB, edit func(*source.GitConfig)) *source.Git {
	t.Helper()
	cfg := r.reach(t)
	cfg.CacheDir = filepath.Join(t.TempDir(), "cache")
	if edit != nil {
		edit(&cfg)
	}
	g, err := source.NewGit(cfg)
	if err != nil {
		t.Fatalf("NewGit: %v", err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// httpsRepo serves the repository with git's own http-backend behind TLS and basic authentication.
type httpsRepo struct {
	*gitRepo
	server *httptest.Server
	token  atomic.Pointer[string]
	// requests counts them by path.
	refs, packs atomic.Int64
	// serve is what the server does.
	serve http.HandlerFunc
	// before, when set, answers in its place.
	before atomic.Pointer[http.HandlerFunc]
	tokens string
}

func newHTTPSRepo(t testing.TB) *httpsRepo {
	t.Helper()
	r := &httpsRepo{gitRepo: newGitRepo(t)}
	r.setToken("s3cr3t-token")
	backend, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	git := &cgi.Handler{
		Path:   filepath.Join(strings.TrimSpace(string(backend)), "git-http-backend"),
		Env:    []string{"GIT_PROJECT_ROOT=" + filepath.Dir(r.bare), "GIT_HTTP_EXPORT_ALL=1", "HOME=" + r.base, "GIT_CONFIG_NOSYSTEM=1"},
		Stderr: io.Discard,
		Logger: log.New(io.Discard, "", 0),
	}
	r.serve = func(w http.ResponseWriter, req *http.Request) {
		if _, password, _ := req.BasicAuth(); password != *r.token.Load() {
			// A server that tells everybody what it was sent.
			http.Error(w, "refused "+req.Header.Get("Authorization")+" "+password, http.StatusUnauthorized)
			return
		}
		if strings.HasSuffix(req.URL.Path, "/info/refs") {
			r.refs.Add(1)
		} else {
			r.packs.Add(1)
		}
		git.ServeHTTP(w, req)
	}
	r.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if h := r.before.Load(); h != nil {
			(*h)(w, req)
			return
		}
		r.serve(w, req)
	}))
	r.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	r.server.StartTLS()
	t.Cleanup(r.server.Close)
	r.tokens = filepath.Join(r.base, "token")
	write(t, r.tokens, "s3cr3t-token\n")
	ca := filepath.Join(r.base, "ca.pem")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.server.Certificate().Raw})))
	r.reach = func(testing.TB) source.GitConfig {
		return source.GitConfig{URL: r.server.URL + "/fleet.git", HTTP: source.HTTPAuth{TokenFile: r.tokens, CAFile: ca}}
	}
	r.hide = func(testing.TB) func() {
		down := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) })
		r.before.Store(&down)
		return func() { r.before.Store(nil) }
	}
	return r
}

func (r *httpsRepo) setToken(token string) { r.token.Store(&token) }

func TestGitConformance(t *testing.T) {
	for name, harness := range map[string]sourcetest.Harness{
		"file":  func(t testing.TB) sourcetest.Origin { return newGitRepo(t) },
		"https": func(t testing.TB) sourcetest.Origin { return newHTTPSRepo(t) },
		"ssh":   func(t testing.TB) sourcetest.Origin { return newSSHRepo(t) },
	} {
		t.Run(name, func(t *testing.T) {
			if name == "ssh" {
				needSSHD(t)
			}
			sourcetest.Run(t, harness)
		})
	}
}
