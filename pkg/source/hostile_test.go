package source_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/source/sourcetest"
)

// treeOf builds a tree object that git itself would refuse to make.
func treeOf(t testing.TB, entries ...string) string {
	t.Helper()
	var raw strings.Builder
	for i := 0; i < len(entries); i += 3 {
		sum, err := hex.DecodeString(entries[i+2])
		if err != nil {
			t.Fatal(err)
		}
		raw.WriteString(entries[i] + " " + entries[i+1] + "\x00" + string(sum))
	}
	return raw.String()
}

func TestGitHostileTrees(t *testing.T) {
	t.Parallel()
	r := newGitRepo(t)
	write(t, filepath.Join(r.base, "blob"), "content")
	blob := r.git(t, r.work, "hash-object", "-w", filepath.Join(r.base, "blob"))
	write(t, filepath.Join(r.base, "target"), "/etc")
	link := r.git(t, r.work, "hash-object", "-w", filepath.Join(r.base, "target"))
	write(t, filepath.Join(r.base, "long"), strings.Repeat("x", 5000))
	long := r.git(t, r.work, "hash-object", "-w", filepath.Join(r.base, "long"))
	write(t, filepath.Join(r.base, "lfs"), "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
	lfs := r.git(t, r.work, "hash-object", "-w", filepath.Join(r.base, "lfs"))
	r.commit(t, sourcetest.Files{"f": sourcetest.Text("x")})
	dir := r.git(t, r.work, "rev-parse", "HEAD^{tree}")
	for name, c := range map[string]struct {
		entries []string
		reason  source.Reason
		want    string
	}{
		"submodule":           {[]string{"160000", "mod", blob}, source.ReasonInvalid, "mod is a submodule"},
		"dot dot":             {[]string{"100644", "..", blob}, source.ReasonInvalid, "not allowed"},
		"dot dot folder":      {[]string{"40000", "..", dir}, source.ReasonInvalid, "not allowed"},
		"dot":                 {[]string{"40000", ".", dir}, source.ReasonInvalid, "not allowed"},
		"dot git":             {[]string{"40000", ".GIT", dir}, source.ReasonInvalid, "not allowed"},
		"slash":               {[]string{"100644", "../../x", blob}, source.ReasonInvalid, "not allowed"},
		"absolute":            {[]string{"100644", "/tmp/source-hostile", blob}, source.ReasonInvalid, "not allowed"},
		"name too long":       {[]string{"100644", strings.Repeat("n", 256), blob}, source.ReasonInvalid, "too long"},
		"twice":               {[]string{"100644", "a", blob, "100644", "a", blob}, source.ReasonInvalid, "twice"},
		"link then folder":    {[]string{"120000", "a", link, "40000", "a", dir}, source.ReasonInvalid, "twice"},
		"folder then link":    {[]string{"40000", "a", dir, "120000", "a", link}, source.ReasonInvalid, "twice"},
		"long link":           {[]string{"120000", "a", long}, source.ReasonTooLarge, "5000"},
		"lfs pointer":         {[]string{"100644", "model.bin", lfs}, source.ReasonInvalid, "model.bin is a Git LFS pointer"},
		"folder is a file":    {[]string{"40000", "a", blob}, source.ReasonInvalid, ""},
		"file is a folder":    {[]string{"100644", "a", dir}, source.ReasonInvalid, ""},
		"blob that is absent": {[]string{"100644", "a", strings.Repeat("12", 20)}, source.ReasonInvalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r.point(t, "tree", treeOf(t, c.entries...))
			refused(t, r.open(t, nil), c.reason, c.want)
		})
	}
	if _, err := os.Lstat("/tmp/source-hostile"); err == nil {
		t.Errorf("a tree wrote outside of the cache")
	}
}

// A few hundred bytes that unfold to 10^12 files.
func TestGitTreeBomb(t *testing.T) {
	t.Parallel()
	r := newGitRepo(t)
	r.commit(t, sourcetest.Files{"f": sourcetest.Text("x")})
	at := r.git(t, r.work, "rev-parse", "HEAD^{tree}")
	for range 12 {
		var entries []string
		for i := range 10 {
			entries = append(entries, "40000", fmt.Sprint("d", i), at)
		}
		p := filepath.Join(r.base, "raw")
		write(t, p, treeOf(t, entries...))
		at = r.git(t, r.work, "hash-object", "-t", "tree", "-w", p)
	}
	r.git(t, r.work, "update-ref", "refs/heads/main", r.git(t, r.work, "commit-tree", "-m", "bomb", at))
	cache := filepath.Join(t.TempDir(), "cache")
	refused(t, r.open(t, func(c *source.GitConfig) { c.CacheDir, c.Limits.MaxFiles = cache, 500 }), source.ReasonTooLarge, "more than 500 files")
	if left, err := os.ReadDir(filepath.Join(cache, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestGitHugeTransfer(t *testing.T) {
	t.Parallel()
	for name, r := range transports(t) {
		t.Run(name, func(t *testing.T) {
			r.commit(t, sourcetest.Files{"big": sourcetest.Text(noise(3_000_000)), "sub/f": sourcetest.Text("x")})
			cache := filepath.Join(t.TempDir(), "cache")
			limited := func(c *source.GitConfig) {
				c.CacheDir, c.Path, c.Limits.MaxTransferBytes = cache, "sub", 1<<20
			}
			if name == "file" {
				fetchOK(t, r.open(t, limited)) // nothing is transferred
				return
			}
			refused(t, r.open(t, limited), source.ReasonTooLarge, "maxTransferBytes")
			if got := packBytes(t, cache); got != 0 {
				t.Errorf("%d bytes left behind", got)
			}
			// A file that compresses to nothing counts with its real size.
			r.commit(t, sourcetest.Files{"big": sourcetest.Text(strings.Repeat("x", 3_000_000))})
			refused(t, r.open(t, limited), source.ReasonTooLarge, "3000000")
		})
	}
}
