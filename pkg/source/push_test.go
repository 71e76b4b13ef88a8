package source_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/source/sourcetest"
)

// pushRepo is a remote repository and a clone of it that makes commits to push.
type pushRepo struct {
	*gitRepo
	clone string
}

func newPushRepo(t testing.TB, r *gitRepo) *pushRepo {
	t.Helper()
	r.commit(t, sourcetest.Files{"a": sourcetest.Text("one")})
	p := &pushRepo{gitRepo: r, clone: filepath.Join(r.base, "clone")}
	r.git(t, "", "clone", "-q", r.bare, p.clone)
	return p
}

// next commits in the clone and returns the push of it.
func (p *pushRepo) next(t testing.TB, old string) source.Push {
	t.Helper()
	p.git(t, p.clone, "commit", "-q", "--allow-empty", "-m", "pushed")
	id := p.git(t, p.clone, "rev-parse", "HEAD")
	cmd := exec.Command("git", "pack-objects", "--revs", "--stdout", "-q")
	cmd.Dir, cmd.Env, cmd.Stdin = p.clone, gitEnv(p.base), strings.NewReader(id+"\n^"+old+"\n")
	pack, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return source.Push{Old: old, New: id, Pack: io.NopCloser(bytes.NewReader(pack))}
}

func checkPush(t *testing.T, p *pushRepo) {
	t.Helper()
	g := p.open(t, func(c *source.GitConfig) { c.History = true })
	first, err := g.Fetch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	push := p.next(t, first.Revision.ID)
	if err := g.Push(t.Context(), push); err != nil {
		t.Fatal(err)
	}
	if p.head(t) != push.New {
		t.Errorf("the branch is at %s, want %s", p.head(t), push.New)
	}
	if err := g.Push(t.Context(), p.next(t, first.Revision.ID)); source.ReasonOf(err) != source.ReasonMoved {
		t.Errorf("a push on top of an old commit: %v", err)
	}
	second, err := g.Fetch(t.Context(), first.Revision.ID)
	if err != nil || second.Revision.ID != push.New {
		t.Fatalf("%+v, %v", second, err)
	}
	// All commits are in the cache, for the git program to read.
	cmd := exec.Command("git", "--git-dir", p.clone+"/.git", "rev-list", push.New)
	cmd.Env = append(gitEnv(p.base), "GIT_OBJECT_DIRECTORY="+filepath.Join(g.ObjectDir(), "objects"))
	if out, err := cmd.CombinedOutput(); err != nil || strings.Count(string(out), "\n") != 2 {
		t.Errorf("history of the cache: %v\n%s", err, out)
	}
}

func TestPushHTTPS(t *testing.T) {
	r := newHTTPSRepo(t)
	r.git(t, r.bare, "config", "http.receivepack", "true")
	p := newPushRepo(t, r.gitRepo)
	checkPush(t, p)
	g := p.open(t, nil)
	hook := filepath.Join(r.bare, "hooks", "update")
	if err := os.MkdirAll(filepath.Dir(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hook, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil { //nolint:gosec // a hook
		t.Fatal(err)
	}
	p.git(t, p.clone, "fetch", "-q")
	p.git(t, p.clone, "reset", "-q", "--hard", "origin/main")
	if err := g.Push(t.Context(), p.next(t, p.head(t))); source.ReasonOf(err) != source.ReasonPushRefused {
		t.Errorf("a push that a hook refuses: %v", err)
	}
	r.setToken("another")
	if err := g.Push(t.Context(), p.next(t, p.head(t))); source.ReasonOf(err) != source.ReasonAuthentication || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("a push with a wrong token: %v", err)
	}
}

func TestPushSSH(t *testing.T) {
	needSSHD(t)
	checkPush(t, newPushRepo(t, newSSHRepo(t).gitRepo))
}

func TestPushLocal(t *testing.T) {
	p := newPushRepo(t, newGitRepo(t))
	pack := &closed{Reader: strings.NewReader("")}
	err := p.open(t, nil).Push(t.Context(), source.Push{Old: p.head(t), New: p.head(t), Pack: pack})
	var e *source.Error
	if !errors.As(err, &e) || e.Reason != source.ReasonInvalid || !pack.done {
		t.Errorf("a push to a folder: %v, pack closed: %t", err, pack.done)
	}
}

type closed struct {
	io.Reader
	done bool
}

func (c *closed) Close() error { c.done = true; return nil }
