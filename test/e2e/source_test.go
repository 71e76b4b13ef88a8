package e2e_test

import (
	"encoding/pem"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// origin is a bare git repository and the agent's folder as its working copy.
type origin struct {
	*agent
	bare string
}

// newOrigin makes an agent whose repository is pushed to a real git repository.
func newOrigin(t *testing.T) *origin {
	t.Helper()
	o := &origin{agent: newAgent(t, twoServices, "")}
	o.bare = filepath.Join(o.home, "origin.git")
	o.git("init", "--quiet", "--bare", "--initial-branch=main", o.bare)
	o.git("init", "--quiet", "--initial-branch=main")
	o.git("remote", "add", "origin", o.bare)
	return o
}

// git runs git in the working copy, with nothing of the machine's configuration.
func (o *origin) git(args ...string) string {
	o.t.Helper()
	cmd := exec.CommandContext(o.t.Context(), "git", args...)
	cmd.Dir = o.repo
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "HOME="+o.home,
		"GIT_AUTHOR_NAME=e2e", "GIT_AUTHOR_EMAIL=e2e@example.org", "GIT_COMMITTER_NAME=e2e", "GIT_COMMITTER_EMAIL=e2e@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		o.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// push commits everything and pushes; it returns the commit.
func (o *origin) push(args ...string) string {
	o.t.Helper()
	o.git("add", "--all")
	o.git(append([]string{"commit", "--quiet", "--message", "change"}, args...)...)
	o.git("push", "--quiet", "--force", "origin", "main")
	return o.git("rev-parse", "HEAD")
}

// reached waits until a commit is converged and returns how long that took.
func (o *origin) reached(commit string) time.Duration {
	o.t.Helper()
	began := time.Now()
	o.await("converged on "+commit[:7], time.Minute, func(st api.NodeStatus) bool { return st.Revision == commit && allConverged(st) })
	return time.Since(began).Round(time.Millisecond)
}

func (o *origin) edit(value string) { o.compose(edited(twoServices, value)) }

func (o *origin) source(lines string) string {
	return "source: {git: {url: 'file://" + o.bare + "'" + lines + "}}"
}

// TestGitPush: a push is noticed at the poll, and at once when it is announced.
func TestGitPush(t *testing.T) {
	o := newOrigin(t)
	first := o.push()
	o.start(o.source(", pollInterval: 1s"))
	o.reached(first)
	o.edit("poll")
	t.Logf("push to converged, poll every second: %s", o.reached(o.push()))

	o.restart(o.source(", pollInterval: 1h"))
	o.await("the look of the start", time.Minute, func(st api.NodeStatus) bool { return !st.SourceCheckAt.IsZero() })
	o.edit("sync")
	commit := o.push()
	during(t, "not noticed before the poll", 2*time.Second, func() bool { return o.status().Revision != commit })
	if code, body, err := o.ask(http.MethodPost, "/v1/sync"); err != nil || code >= 300 {
		t.Fatalf("POST /v1/sync: %d %s %v", code, body, err)
	}
	t.Logf("sync to converged: %s", o.reached(commit))

	o.edit("hangup")
	commit = o.push()
	if err := o.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	t.Logf("SIGHUP to converged: %s", o.reached(commit))

	// A force-push takes the last commit back: the earlier state is wanted again.
	o.git("reset", "--quiet", "--hard", first)
	o.edit("forced")
	commit = o.push("--amend")
	o.ctl(0, "sync")
	o.reached(commit)
	if env := strings.Join(o.agent.on.must(t, o.name("web")).Config.Env, "\n"); !strings.Contains(env, "CHANGED=forced") {
		t.Errorf("after a force-push: %s", env)
	}
}

// TestGitHTTPS: the same over https with a token, its certificate from a file.
func TestGitHTTPS(t *testing.T) {
	backend := strings.TrimSpace(gitExecPath(t)) + "/git-http-backend"
	if _, err := os.Stat(backend); err != nil {
		t.Skipf("SKIPPED: no git http-backend: %v", err)
	}
	o := newOrigin(t)
	const token = "git-token-6c0f"
	handler := &cgi.Handler{Path: backend, Root: "/", Env: []string{"GIT_PROJECT_ROOT=" + o.home, "GIT_HTTP_EXPORT_ALL=1"}, Stderr: o.log}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pass, _ := r.BasicAuth(); pass != token {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "login", http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	ca, file := filepath.Join(o.home, "ca.pem"), filepath.Join(o.home, "token")
	writeFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})), 0o600)
	writeFile(t, file, "wrong\n", 0o600)
	first := o.push()
	o.start("source: {git: {url: '" + server.URL + "/origin.git', username: robot, tokenFile: " + file + ", caFile: " + ca + ", pollInterval: 1s}}")
	st := o.await("refused login is told", time.Minute, func(st api.NodeStatus) bool { return len(st.Conditions) > 0 && len(st.Stacks) == 0 })
	t.Logf("refused login: %s: %s", st.Conditions[0].Reason, st.Conditions[0].Message)
	writeFile(t, file, token+"\n", 0o600)
	o.reached(first)
	o.edit("https")
	t.Logf("push to converged over https, poll every second: %s", o.reached(o.push()))
	leak(t, "the log", o.log.String(), []string{token})
}

func gitExecPath(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Skipf("SKIPPED: no git: %v", err)
	}
	return string(out)
}

// TestGitSignature: a commit that nobody trusted has signed changes nothing.
func TestGitSignature(t *testing.T) {
	o := newOrigin(t)
	key := filepath.Join(o.home, "id")
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "e2e@example.org", "-f", key).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no ssh-keygen: %v %s", err, out)
	}
	allowed := filepath.Join(o.home, "allowed")
	writeFile(t, allowed, "e2e@example.org "+readFile(t, key+".pub"), 0o600)
	o.git("config", "gpg.format", "ssh")
	o.git("config", "user.signingkey", key)
	signed := o.push("-S")
	o.start(o.source(", pollInterval: 1s, requireSignature: true, allowedSignersFile: " + allowed))
	o.reached(signed)
	before := o.agent.on.snapshot(t, o.name("web"), o.name("other"))
	o.edit("unsigned")
	unsigned := o.push()
	st := o.await("refusal is told", time.Minute, func(st api.NodeStatus) bool { return len(st.Conditions) > 0 })
	t.Logf("unsigned commit: %s: %s", st.Conditions[0].Reason, st.Conditions[0].Message)
	if st.Revision != signed {
		t.Errorf("revision %s is in force, unsigned is %s", st.Revision, unsigned)
	}
	during(t, "nothing is touched", time.Second, func() bool { return true })
	o.agent.on.untouched(t, before)
	o.reached(o.push("-S", "--amend"))
	if st := o.status(); len(st.Conditions) > 0 {
		t.Errorf("conditions stay: %+v", st.Conditions)
	}
}

// TestInvalidState is acceptance scenario 6 without a controller: an invalid revision
// changes nothing, the last good one stays in force, and the place of the fault is named.
func TestInvalidState(t *testing.T) {
	o := newOrigin(t)
	first := o.push()
	o.start(o.source(", pollInterval: 1s"))
	o.reached(first)
	before := o.agent.on.snapshot(t, o.name("web"), o.name("other"))
	o.compose(strings.Replace(twoServices, "    restart: unless-stopped\n", "    restrat: unless-stopped\n", 1))
	bad := o.push()
	st := o.await("told", time.Minute, func(st api.NodeStatus) bool { return len(conditions(st, api.ReasonInvalid)) > 0 })
	const place = "stacks/app/compose.yaml:6:5"
	if msg := conditions(st, api.ReasonInvalid)[0].Message; !strings.Contains(msg, place) {
		t.Errorf("the condition does not name %s: %s", place, msg)
	}
	if st.Revision != first || st.SourceRevision != bad {
		t.Errorf("revision %s, source revision %s", st.Revision, st.SourceRevision)
	}
	if out := o.ctl(1, "validate", o.repo); !strings.Contains(out, place) {
		t.Errorf("validate does not name %s:\n%s", place, out)
	}
	o.agent.on.untouched(t, before)
	// The last good state is still enforced, also after a restart.
	o.agent.on.remove(t, o.name("web"))
	eventually(t, "healed", time.Minute, func() bool { return o.agent.on.running(t, o.name("web")) })
	o.restart(o.source(", pollInterval: 1s"))
	o.agent.on.remove(t, o.name("web"))
	eventually(t, "healed after a restart", time.Minute, func() bool { return o.agent.on.running(t, o.name("web")) })
	o.edit("mended")
	o.reached(o.push())
	if st := o.status(); len(st.Conditions) > 0 {
		t.Errorf("conditions stay: %+v", st.Conditions)
	}
}

// TestGitDownAtStart: with the repository out of reach from the start, the last good state
// on disk is enforced.
func TestGitDownAtStart(t *testing.T) {
	o := newOrigin(t)
	first := o.push()
	o.start(o.source(", pollInterval: 1s"))
	o.reached(first)
	o.stop()
	if err := os.Rename(o.bare, o.bare+".away"); err != nil {
		t.Fatal(err)
	}
	kept := o.agent.on.snapshot(t, o.name("other"))
	o.agent.on.remove(t, o.name("web"))
	began := time.Now()
	o.start(o.source(", pollInterval: 1s"))
	eventually(t, "healed by the last good state", time.Minute, func() bool { return o.agent.on.running(t, o.name("web")) })
	t.Logf("healed %s after the start without git", time.Since(began).Round(time.Millisecond))
	st := o.await("staleness is told", time.Minute, func(st api.NodeStatus) bool { return len(st.Conditions) > 0 && allConverged(st) })
	t.Logf("git down: %s: %s", st.Conditions[0].Reason, st.Conditions[0].Message)
	o.agent.on.untouched(t, kept)
	if err := os.Rename(o.bare+".away", o.bare); err != nil {
		t.Fatal(err)
	}
	o.edit("back")
	o.reached(o.push())
	if st := o.status(); len(st.Conditions) > 0 {
		t.Errorf("conditions stay: %+v", st.Conditions)
	}
}
