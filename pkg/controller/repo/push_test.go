package repo_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/controller/repo"
)

func TestPushCloneFetch(t *testing.T) {
	s := newServer(t, nil)
	w := s.clone("ann")
	first := w.sample()
	out, err := w.try("push", "origin", "main")
	if err != nil || !strings.Contains(out, "remote: rollout of "+first[:7]+": converged") {
		t.Fatalf("%v\n%s", err, out)
	}
	push := s.gate.pushes()[0]
	if push.Old != "" || push.New != first || push.Who.Name != "ann" || !strings.HasPrefix(push.From, "127.0.0.1:") || len(push.Options) > 0 {
		t.Errorf("push %+v", push)
	}
	other := s.clone("bob")
	other.git("fetch", "-q", "origin")
	other.git("checkout", "-q", "-B", "main", "origin/main")
	w.replace("nodes/b.yaml", "backtest: 1", "backtest: 3")
	second := w.commit("three")
	if out, err := w.try("push", "-o", "nowait", "-o", "why=test", "origin", "main"); err != nil || !strings.Contains(out, "not waiting for its rollout") || strings.Contains(out, "converged") {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := s.gate.pushes()[1]; got.Old != first || got.New != second || !slices.Equal(got.Options, []string{"nowait", "why=test"}) {
		t.Errorf("push %+v", got)
	}
	for _, version := range []string{"0", "1", "2"} {
		other.git("-c", "protocol.version="+version, "fetch", "-q", "origin")
		if got := other.git("rev-parse", "origin/main"); got != second || s.head() != second {
			t.Errorf("version %s: fetched %s, head %s, want %s", version, got, s.head(), second)
		}
	}
	shallow := newWork(t)
	shallow.env = w.env
	shallow.git("fetch", "-q", "--depth=1", s.url("ann"), "main")
	shallow.git("reset", "-q", "--hard", "FETCH_HEAD")
	shallow.write("README.md", "from a shallow clone")
	third := shallow.commit("shallow")
	shallow.git("push", "-q", "-o", "nowait", s.url("ann"), "main")
	if s.head() != third {
		t.Errorf("a push from a shallow clone: head %s", s.head())
	}
	if left, err := os.ReadDir(filepath.Join(s.cfg.Dir, "incoming")); err != nil || len(left) > 0 {
		t.Errorf("left in quarantine: %v, %v", left, err)
	}
	if left, err := os.ReadDir(filepath.Join(s.cfg.Dir, "candidates", "trees")); err != nil || len(left) > 0 {
		t.Errorf("left of candidates: %v, %v", left, err)
	}
}

// TestPushIsRefused shows each reason; head, branch and store of objects stay.
func TestPushIsRefused(t *testing.T) {
	s, w := filled(t, nil)
	first := s.head()
	for name, c := range map[string]struct {
		do   func(w *work)
		push []string
		want []string
	}{
		"invalid": {
			func(w *work) {
				w.replace("nodes/b.yaml", "backtest: 1", "backtest: 9\n    nobody: 1")
				w.commit("x")
			},
			[]string{"main"},
			[]string{"remote: nodes/b.yaml:16:5: spec.scale.backtest: is 9, but pool backtest has at most 3 slots", "remote: nodes/b.yaml:17:5: spec.scale.nobody: ", "! [remote rejected] main -> main (refused)"},
		},
		"secret": {
			func(w *work) {
				w.replace("stacks/core/stack.yaml", "op://KTRDR Homelab Secrets/ktrdr-homelab-core/jwt_secret", "hunter2-canary-0123456789abcdef0123456789")
				w.commit("x")
			},
			[]string{"main"},
			[]string{"remote: stacks/core/stack.yaml:14:5: spec.variables.KTRDR_AUTH_JWT_SECRET: looks like a secret"},
		},
		"other branch": {func(w *work) { w.commit("x") }, []string{"main:other"}, []string{"! [remote rejected] main -> other (only branch main can be pushed)"}},
		"tag":          {func(w *work) { w.git("tag", "-f", "v1") }, []string{"v1"}, []string{"only branch main can be pushed"}},
		"several":      {func(w *work) { w.commit("x") }, []string{"main", "main:other"}, []string{"main -> main (only branch main can be pushed)", "main -> other (only branch main can be pushed)"}},
		"delete":       {func(*work) {}, []string{":main"}, []string{"! [remote rejected] main (branch main can't be deleted)"}},
		"behind":       {func(w *work) { w.git("reset", "-q", "--hard", "HEAD~1") }, []string{"main"}, []string{"rejected"}},
		"force":        {func(w *work) { w.git("commit", "-q", "--amend", "-m", "other") }, []string{"+main"}, []string{"remote: this push would take commits away: git pull --rebase desired-state main, then", "(non-fast-forward)"}},
		"not a commit": {func(*work) {}, []string{"HEAD^{tree}:refs/heads/main"}, []string{"rejected"}},
		"submodule": {func(w *work) {
			w.git("update-index", "--add", "--cacheinfo", "160000,"+w.git("rev-parse", "HEAD")+",sub")
			w.git("commit", "-q", "-m", "x")
		}, []string{"main"}, []string{"remote: read commit", "sub is a submodule"}},
		"leaving link":   {func(w *work) { w.git("rm", "-q", "fleet.yaml"); link(t, w, "fleet.yaml", "/etc/passwd"); w.commit("x") }, []string{"main"}, []string{"fleet.yaml:1:1: is a symbolic link that leaves the repository"}},
		"broken objects": {func(w *work) { brokenTree(w) }, []string{"main"}, []string{"remote: git index-pack:", "remote unpack failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			other := s.clone("ann")
			other.git("fetch", "-q", "origin")
			other.git("reset", "-q", "--hard", "origin/main")
			other.git("commit", "-q", "--allow-empty", "-m", "second")
			if name != "behind" {
				other.git("reset", "-q", "--hard", "HEAD~1")
			}
			c.do(other)
			out, err := other.try(append([]string{"push", "origin"}, c.push...)...)
			if name == "behind" {
				if err != nil {
					t.Errorf("nothing to push is no failure: %v\n%s", err, out)
				}
				return
			}
			if err == nil {
				t.Fatalf("is accepted:\n%s", out)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is missing in:\n%s", want, out)
				}
			}
			if strings.Contains(out, "hunter2") {
				t.Errorf("the secret is shown:\n%s", out)
			}
		})
	}
	if s.head() != first || s.branch(w) != first || len(s.gate.pushes()) != 1 {
		t.Errorf("head %s, branch %s, want %s", s.head(), s.branch(w), first)
	}
	noCanary(t, s.cfg.Dir, w)
}

// noCanary looks for the refused secret in every object that the server has kept.
func noCanary(t *testing.T, dir string, w *work) {
	t.Helper()
	out := w.git("--git-dir", filepath.Join(dir, "desired-state.git"), "cat-file", "--batch-all-objects", "--batch-check")
	for line := range strings.Lines(out) {
		id, _, _ := strings.Cut(line, " ")
		if strings.Contains(w.git("--git-dir", filepath.Join(dir, "desired-state.git"), "cat-file", "-p", id), "hunter2") {
			t.Errorf("object %s holds the secret of a refused push", id)
		}
	}
}

func link(t *testing.T, w *work, name, to string) {
	t.Helper()
	if err := os.Symlink(to, filepath.Join(w.dir, name)); err != nil {
		t.Error(err)
	}
}

// brokenTree commits a tree with an entry that git's fsck refuses.
func brokenTree(w *work) {
	w.tb.Helper()
	blob := w.git("hash-object", "-w", "fleet.yaml")
	raw := make([]byte, 20)
	if _, err := fmt.Sscanf(blob, "%x", &raw); err != nil {
		w.tb.Fatal(err)
	}
	tree := append([]byte("100644 .git\x00"), raw...)
	w.write(".git/bad", string(tree))
	id := w.git("hash-object", "-w", "-t", "tree", "--literally", ".git/bad")
	commit := w.git("commit-tree", "-p", "HEAD", "-m", "bad", id)
	w.git("update-ref", "refs/heads/main", commit)
}

func TestCredentials(t *testing.T) {
	s, w := filled(t, nil)
	bob := s.clone("bob")
	bob.git("fetch", "-q", "origin")
	bob.git("reset", "-q", "--hard", "origin/main")
	bob.commit("bob's")
	if out, err := bob.try("push", "origin", "main"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("a viewer pushes: %v\n%s", err, out)
	}
	for name, url := range map[string]string{
		"nobody": s.http.URL + "/desired-state.git", "a wrong token": strings.Replace(s.url("ann"), "token-of-ann", "guess", 1),
	} {
		if out, err := w.try("ls-remote", url); err == nil {
			t.Errorf("%s reads:\n%s", name, out)
		}
		if out, err := w.try("push", url, "main"); err == nil {
			t.Errorf("%s pushes:\n%s", name, out)
		}
	}
	response, err := s.http.Client().Get(s.http.URL + "/desired-state.git/info/refs?service=git-upload-pack")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(response.Header.Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("%s, %v", response.Status, response.Header)
	}
}

// TestProgressIsLive reads lines of the gate while the push goes on: each step waits until the
// pusher has seen the line before.
func TestProgressIsLive(t *testing.T) {
	s, w := filled(t, nil)
	step := make(chan struct{})
	wait := func(ctx context.Context) error {
		select {
		case <-step:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.gate.check = func(ctx context.Context, push repo.Push, progress func(string)) error {
		progress("checking\x1b[31m 7 nodes\r")
		return wait(ctx)
	}
	s.gate.watch = func(ctx context.Context, _ string, progress func(string)) error {
		progress("wave 1: a")
		if err := wait(ctx); err != nil {
			return err
		}
		progress("wave 2: b")
		return errors.Join(wait(ctx), errors.New("node b: Blocked"))
	}
	w.commit("empty")
	cmd := w.command(t.Context(), "push", "--progress", "origin", "main")
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(said)
	for _, want := range []string{"remote: checking [31m 7 nodes", "remote: wave 1: a", "remote: wave 2: b"} {
		for in.Scan() && !strings.Contains(in.Text(), want) {
		}
		if !strings.Contains(in.Text(), want) {
			t.Fatalf("%q was not seen before the push ended", want)
		}
		step <- struct{}{}
	}
	rest, err := io.ReadAll(said)
	for in.Scan() {
		rest = append(rest, in.Text()...)
	}
	if err != nil || cmd.Wait() != nil || !bytes.Contains(rest, []byte("node b: Blocked")) {
		t.Errorf("a failed rollout is told, and the push is accepted all the same: %v\n%s", err, rest)
	}
}

func TestHugePackIsRefused(t *testing.T) {
	s, w := filled(t, func(c *repo.HostedConfig) { c.Limits.MaxPushBytes = 200_000 })
	noise := make([]byte, 1_500_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32()) //nolint:gosec // what can't be compressed
	}
	w.write("big", string(noise))
	w.commit("big")
	out, err := w.try("push", "origin", "main")
	if err == nil {
		t.Fatalf("is accepted:\n%s", out)
	}
	w.git("reset", "-q", "--hard", "HEAD~1")
	w.write("big", string(noise[:300_000]))
	w.commit("less big")
	out, err = w.try("push", "origin", "main")
	if err == nil || !strings.Contains(out, "the pack is larger than 200000 bytes") {
		t.Fatalf("%v\n%s", err, out)
	}
	if left, err := os.ReadDir(filepath.Join(s.cfg.Dir, "incoming")); err != nil || len(left) > 0 {
		t.Errorf("left in quarantine: %v, %v", left, err)
	}
}

// TestForce replaces the branch where that is configured, also without a single new object.
func TestForce(t *testing.T) {
	s, w := filled(t, func(c *repo.HostedConfig) { c.AllowForce = true })
	first := s.head()
	w.commit("second")
	w.git("push", "-q", "-o", "nowait", "origin", "main")
	w.git("push", "-q", "-f", "-o", "nowait", "origin", first+":refs/heads/main")
	if s.head() != first || s.branch(w) != first {
		t.Errorf("head %s, branch %s, want %s", s.head(), s.branch(w), first)
	}
}

// TestStoreFails: the head does not move, and nothing is left that a later push trips over.
func TestStoreFails(t *testing.T) {
	s, w := filled(t, nil)
	first := s.head()
	s.gate.accept = func(repo.Push) error { return errors.New("etcd is away") }
	second := w.commit("second")
	if out, err := w.try("push", "origin", "main"); err == nil || !strings.Contains(out, "remote: etcd is away") || s.head() != first || s.branch(w) != first {
		t.Fatalf("%v, head %s\n%s", err, s.head(), out)
	}
	// The store moved the head, and its answer got lost: that is a success.
	s.gate.accept = func(push repo.Push) error {
		if err := os.WriteFile(s.gate.file, []byte(push.New), 0o600); err != nil {
			return err
		}
		return errors.New("time-out")
	}
	if out, err := w.try("push", "-o", "nowait", "origin", "main"); err != nil || s.head() != second || s.branch(w) != second {
		t.Errorf("%v, head %s\n%s", err, s.head(), out)
	}
}

// TestOtherProcessMovesTheHead: what another controller did shows as a head that has moved.
func TestOtherProcessMovesTheHead(t *testing.T) {
	s, w := filled(t, nil)
	s.gate.accept = func(push repo.Push) error { return fmt.Errorf("%w to 0123456789", repo.ErrHeadMoved) }
	w.commit("second")
	if out, err := w.try("push", "origin", "main"); err == nil || !strings.Contains(out, "(fetch first)") {
		t.Errorf("%v\n%s", err, out)
	}
}
