package source_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/source/sourcetest"
)

// noise doesn't compress.
func noise(n int) string {
	b, x := make([]byte, n), uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return string(b)
}

func state(content string) sourcetest.Files {
	return sourcetest.Files{"fleet.yaml": sourcetest.Text(content), "stacks/core/compose.yaml": sourcetest.Text("services: {}\n")}
}

// refused wants Fetch to fail for the reason, with all parts in the message.
func refused(t testing.TB, s source.Source, reason source.Reason, parts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sourcetest.Patience)
	defer cancel()
	_, err := s.Fetch(ctx, "")
	wantError(t, err, reason, parts...)
}

// transports makes one repository for each way to reach one.
func transports(t *testing.T) map[string]*gitRepo {
	t.Helper()
	all := map[string]*gitRepo{"file": newGitRepo(t), "https": newHTTPSRepo(t).gitRepo}
	if sshd() != "" {
		all["ssh"] = newSSHRepo(t).gitRepo
	} else {
		t.Log("SKIPPED, nothing over ssh is tested: install openssh-server")
	}
	return all
}

func TestGitRevision(t *testing.T) {
	t.Parallel()
	r := newGitRepo(t)
	id := r.commit(t, state("1"), "-m", "subject \x1b[31mred\n\nbody", "--author", "Bob <bob@example.org>", "--date", "2001-02-03T04:05:06Z")
	got := fetchOK(t, r.open(t, nil)).Revision
	want := source.Revision{ID: id, Branch: "main", Author: "Bob <bob@example.org>", Subject: "change", Time: got.Time}
	if got != want || time.Since(got.Time) > time.Minute {
		t.Errorf("revision %+v, want %+v (the committer's time)", got, want)
	}
	r.git(t, r.work, "commit", "-q", "--allow-empty", "-m", "a \x1b[31mred \tline\nrest")
	if got := fetchOK(t, r.open(t, nil)).Revision.Subject; got != "a  [31mred  line rest" && got != "a  [31mred  line" {
		t.Errorf("subject %q", got)
	}
}

func TestGitMissing(t *testing.T) {
	t.Parallel()
	for name, r := range transports(t) {
		t.Run(name, func(t *testing.T) {
			refused(t, r.open(t, nil), source.ReasonBranchNotFound)
			r.commit(t, state("1"))
			refused(t, r.open(t, func(c *source.GitConfig) { c.Branch = "nope" }), source.ReasonBranchNotFound, "branch nope", "no such branch")
			refused(t, r.open(t, func(c *source.GitConfig) { c.URL = strings.Replace(c.URL, "fleet.git", "other.git", 1) }), source.ReasonRepositoryNotFound, "other.git")
			refused(t, r.open(t, func(c *source.GitConfig) { c.Path = "stacks/nope" }), source.ReasonPathNotFound, "stacks/nope")
			r.git(t, r.work, "branch", "team/x")
			if got := fetchOK(t, r.open(t, func(c *source.GitConfig) { c.Branch = "team/x" })).Revision.Branch; got != "team/x" {
				t.Errorf("branch %q, want team/x", got)
			}
		})
	}
}

// The same commit and cache with another sub-folder is another tree.
func TestGitPathIsPartOfTheTree(t *testing.T) {
	t.Parallel()
	r := newGitRepo(t)
	r.commit(t, sourcetest.Files{"a/f": sourcetest.Text("a"), "b/f": sourcetest.Text("b")})
	cache := filepath.Join(t.TempDir(), "cache")
	for _, p := range []string{"a", "b", "a"} {
		g := r.open(t, func(c *source.GitConfig) { c.CacheDir, c.Path = cache, p })
		if got := mustRead(t, filepath.Join(fetchOK(t, g).Dir, "f")); string(got) != p {
			t.Errorf("sub-folder %s has the file of %s", p, got)
		}
	}
}

func TestGitForcePush(t *testing.T) {
	t.Parallel()
	for name, r := range transports(t) {
		t.Run(name, func(t *testing.T) {
			r.commit(t, state("0"))
			old := r.commit(t, state("1"))
			g := r.open(t, nil)
			fetchOK(t, g)
			wants := func(what, id, content string) {
				t.Helper()
				tree := fetchOK(t, g)
				got, err := os.ReadFile(filepath.Join(tree.Dir, "fleet.yaml"))
				if tree.Revision.ID != id || err != nil || string(got) != content {
					t.Errorf("%s: %s %q %v, want %s %q", what, tree.Revision.ID, got, err, id, content)
				}
			}
			wants("amended", r.commit(t, state("2"), "--amend"), "2")
			r.git(t, r.work, "update-ref", "refs/heads/main", old)
			wants("back to an old commit", old, "1")
			r.git(t, r.work, "update-ref", "-d", "refs/heads/main")
			unrelated := r.commit(t, state("3"))
			r.git(t, r.work, "reflog", "expire", "--expire=now", "--all")
			r.git(t, r.work, "gc", "-q", "--prune=now")
			wants("unrelated history, old commits gone", unrelated, "3")
		})
	}
}

func TestGitTransfersOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	for name, r := range transports(t) {
		if name == "file" {
			continue // nothing is transferred
		}
		t.Run(name, func(t *testing.T) {
			for i := range 3 { // history that nobody needs
				r.commit(t, sourcetest.Files{"big": sourcetest.Text(noise(600_000)[i*200_000:][:200_000]), "small": sourcetest.Text("1")})
			}
			cache := filepath.Join(t.TempDir(), "cache")
			g := r.open(t, func(c *source.GitConfig) { c.CacheDir = cache })
			fetchOK(t, g)
			if got := packBytes(t, cache); got > 250_000 {
				t.Errorf("a first fetch brought %d bytes, want one commit's worth", got)
			}
			before := packBytes(t, cache)
			r.commit(t, sourcetest.Files{"small": sourcetest.Text("2")})
			fetchOK(t, g)
			if got := packBytes(t, cache) - before; got <= 0 || got > 10_000 {
				t.Errorf("a small edit brought %d bytes", got)
			}
		})
	}
}

// packBytes is the size of all packs and loose objects in a cache.
func packBytes(t testing.TB, cache string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(cache, "git/objects"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(d.Name()) == ".idx" {
			return err
		}
		info, err := d.Info()
		n += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestGitUnchangedIsCheap(t *testing.T) {
	t.Parallel()
	r := newHTTPSRepo(t)
	id := r.commit(t, state("1"))
	cache := filepath.Join(t.TempDir(), "cache")
	at := func(c *source.GitConfig) { c.CacheDir = cache }
	g := r.open(t, at)
	first := fetchOK(t, g)
	refs, packs := r.refs.Load(), r.packs.Load()
	for _, s := range []*source.Git{g, r.open(t, at)} { // the second one is a restarted process
		again, err := s.Fetch(t.Context(), id)
		if err != nil || again != first {
			t.Errorf("Fetch = %+v, %v, want %+v", again, err, first)
		}
	}
	if r.refs.Load() != refs+2 || r.packs.Load() != packs {
		t.Errorf("two polls made %d reference and %d pack requests, want 2 and 0", r.refs.Load()-refs, r.packs.Load()-packs)
	}
}

func TestGitLocalForms(t *testing.T) {
	t.Parallel()
	r := newGitRepo(t)
	id := r.commit(t, state("1"))
	clone, linked := filepath.Join(r.base, "clone"), filepath.Join(r.base, "linked")
	r.git(t, "", "clone", "-q", r.bare, clone)
	r.git(t, clone, "worktree", "add", "-q", "-b", "side", linked)
	for _, url := range []string{r.bare, "file://" + r.bare, clone, clone + "/.git", linked} {
		if got := fetchOK(t, r.open(t, func(c *source.GitConfig) { c.URL = url })).Revision.ID; got != id {
			t.Errorf("%s: %s, want %s", url, got, id)
		}
	}
	// Packed references and objects, as git gc leaves them.
	r.git(t, r.work, "gc", "-q")
	if got := fetchOK(t, r.open(t, nil)).Revision.ID; got != id {
		t.Errorf("after gc %s, want %s", got, id)
	}
	packs, err := filepath.Glob(filepath.Join(r.bare, "objects/pack/*.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatal(packs, err)
	}
	if err := os.Chmod(packs[0], 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, packs[0], "rubbish")
	refused(t, r.open(t, nil), source.ReasonInvalid, "git fsck")
}

func TestGitConfigProblemsAreJoined(t *testing.T) {
	t.Parallel()
	_, err := source.NewGit(source.GitConfig{
		URL: "ssh://git@host/x", Branch: "a..b", Path: "/abs", Timeout: -1, Signatures: source.Signatures{Required: true},
		HTTP: source.HTTPAuth{TokenFile: "x", Token: func() (string, error) { return "", nil }},
	})
	wantError(t, err, source.ReasonInvalid, "branch:", "path:", "timeout:", "cacheDir:", "signatures:", "http:", "ssh.keyFile:", "ssh.knownHostsFile:")
	for url, want := range map[string]string{
		"":                                 "name the repository",
		"http://host/x":                    "use https",
		"git://host/x":                     "not supported",
		"ext::sh -c id":                    "ssh.keyFile:", // a host named ext, for git as well; nothing is run
		"relative/path":                    "absolute",
		"file://host/x":                    "host",
		"https:///x":                       "no host",
		"https://u:hunter2@host/x":         "password",
		"https://u:hunter2%zz@host/x":      "url:",
		"https://host/x?private=hunter2":   "query",
		"ssh://git:hunter2@host/x":         "password",
		"https://host:hunter2/x":           "url:",
		"https://host/\x00hunter2":         "url:",
		"-oProxyCommand=touch /tmp/hacked": "absolute",
	} {
		_, err := source.NewGit(source.GitConfig{URL: url, CacheDir: t.TempDir()})
		wantError(t, err, source.ReasonInvalid, want)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error shows the password: %v", url, err)
		}
	}
}

func TestGitCloseAndTimeout(t *testing.T) {
	t.Parallel()
	r := newGitRepo(t)
	r.commit(t, state("1"))
	g := r.open(t, func(c *source.GitConfig) { c.Timeout = time.Nanosecond })
	_, err := g.Fetch(t.Context(), "")
	if !slices.Contains([]source.Reason{source.ReasonCanceled, source.ReasonUnreachable}, source.ReasonOf(err)) {
		t.Errorf("Fetch with a timeout of 1 ns: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if g.Changes() != nil {
		t.Errorf("a polled source has a bell")
	}
}
