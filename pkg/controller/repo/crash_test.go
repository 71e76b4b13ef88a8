package repo_test

import (
	"bufio"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ktrdr.io/fleet/pkg/controller/repo"
)

// The test's own program is a server that ends itself by kill -9 at a chosen moment.
const (
	crashServer = "REPO_TEST_CRASH_SERVER" // its folder
	crashAt     = "REPO_TEST_CRASH_AT"
)

func serveAndCrash(dir, at string) int {
	g := &gate{file: filepath.Join(dir, "head")}
	die := func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }
	g.check = func(_ context.Context, _ repo.Push, progress func(string)) error {
		progress("checked")
		if at == "check" {
			die()
		}
		return nil
	}
	g.accept = func(repo.Push) error {
		if at == "before the head" {
			die()
		}
		return nil
	}
	crashing := &crashingGate{gate: g, after: func() {
		if at == "after the head" {
			die()
		}
	}}
	h, err := repo.OpenHosted(context.Background(), repo.HostedConfig{Dir: filepath.Join(dir, "state"), Gate: crashing, Head: g.head, Authorize: authorize})
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	server := httptest.NewUnstartedServer(http.Handler(h))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), cert, 0o600); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println(server.URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test lets go
	server.CloseClientConnections()
	server.Close()
	return 0
}

type crashingGate struct {
	*gate
	after func()
}

func (c *crashingGate) Accepted(ctx context.Context, push repo.Push) error {
	err := c.gate.Accepted(ctx, push)
	c.after()
	return err
}

// process is a crashing server.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	url   string
}

func start(t *testing.T, dir, at string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), crashServer+"="+dir, crashAt+"="+at)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "https://") {
		t.Fatalf("the server says %q, %v", line, err)
	}
	return &process{cmd: cmd, stdin: stdin, url: strings.Replace(strings.TrimSpace(line), "https://", "https://ann:token-of-ann@", 1) + "/desired-state.git"}
}

func (p *process) end(t *testing.T) {
	t.Helper()
	if err := p.stdin.Close(); err != nil {
		t.Error(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the server: %v", err)
	}
}

// TestCrash kills the server during pushes: what was accepted is there afterwards, the rest is
// not, and head and branch agree.
func TestCrash(t *testing.T) {
	for at, accepted := range map[string]bool{"check": false, "before the head": false, "after the head": true} {
		t.Run(at, func(t *testing.T) {
			dir := t.TempDir()
			w := newWork(t)
			w.env = []string{"GIT_SSL_CAINFO=" + filepath.Join(dir, "ca.pem")}
			first := w.sample()
			p := start(t, dir, "never")
			w.git("push", "-q", p.url, "main")
			p.end(t)
			second := w.commit("second")
			p = start(t, dir, at)
			if out, err := w.try("push", p.url, "main"); err == nil {
				t.Errorf("a push to a server that dies succeeds:\n%s", out)
			}
			if err := p.cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the server was not killed: %v", err)
			}
			want := first
			if accepted {
				want = second
			}
			if branch := w.git("--git-dir", filepath.Join(dir, "state/desired-state.git"), "rev-parse", "main"); branch != first {
				t.Errorf("the crash came too late: the branch is at %s already", branch)
			}
			p = start(t, dir, "never")
			got, _, _ := strings.Cut(w.git("ls-remote", p.url, "refs/heads/main"), "\t")
			head, err := os.ReadFile(filepath.Join(dir, "head"))
			if err != nil || got != want || string(head) != want {
				t.Errorf("branch %s, head %s, want %s, %v", got, head, want, err)
			}
			w.commit("third")
			w.git("push", "-q", p.url, "main")
			p.end(t)
		})
	}
}
