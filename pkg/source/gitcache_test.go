package source_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/source/sourcetest"
)

func TestGitCorruptCacheHeals(t *testing.T) {
	t.Parallel()
	r := newHTTPSRepo(t)
	r.commit(t, sourcetest.Files{"old": sourcetest.Text(noise(5000)), "fleet.yaml": sourcetest.Text("0")})
	for name, harm := range corruptions() {
		t.Run(name, func(t *testing.T) {
			cache := filepath.Join(t.TempDir(), "cache")
			at := func(c *source.GitConfig) { c.CacheDir = cache }
			g := r.open(t, at)
			tree := fetchOK(t, g)
			harm(t, filepath.Join(cache, "git"))
			// The same commit again, with the tree lost as well: the repository has to give all of it.
			if err := os.RemoveAll(tree.Dir); err != nil {
				t.Fatal(err)
			}
			if again := fetchOK(t, r.open(t, at)); again != tree {
				t.Errorf("after the damage %+v, want %+v", again, tree)
			}
			harm(t, filepath.Join(cache, "git"))
			id := r.commit(t, sourcetest.Files{"fleet.yaml": sourcetest.Text(name)})
			after := fetchOK(t, g)
			for file, want := range map[string]string{"fleet.yaml": name, "old": noise(5000)} {
				if got, err := os.ReadFile(filepath.Join(after.Dir, file)); err != nil || string(got) != want || after.Revision.ID != id {
					t.Errorf("%s after the damage: %d bytes, %v, revision %s, want %s", file, len(got), err, after.Revision.ID, id)
				}
			}
		})
	}
}

// corruptions are ways to find a cache after a power cut or a clumsy hand.
func corruptions() map[string]func(t testing.TB, dir string) {
	each := func(pattern string, do func(p string) error) func(testing.TB, string) {
		return func(t testing.TB, dir string) {
			t.Helper()
			list, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil || len(list) == 0 {
				t.Fatalf("nothing matches %s: %v", pattern, err)
			}
			for _, p := range list {
				if err := do(p); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	fill := func(text string) func(string) error {
		return func(p string) error { return os.WriteFile(p, []byte(text), 0o600) }
	}
	flip := func(p string) error {
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for i := len(data) / 3; i < len(data)/3+40; i++ {
			data[i] ^= 0x55
		}
		return os.WriteFile(p, data, 0o600)
	}
	return map[string]func(t testing.TB, dir string){
		"pack truncated":        each("objects/pack/*.pack", func(p string) error { return os.Truncate(p, 700) }),
		"pack cut to nothing":   each("objects/pack/*.pack", func(p string) error { return os.Truncate(p, 0) }),
		"pack bits flipped":     each("objects/pack/*.pack", flip),
		"pack gone":             each("objects/pack/*.pack", os.Remove),
		"index truncated":       each("objects/pack/*.idx", func(p string) error { return os.Truncate(p, 1100) }),
		"index bits flipped":    each("objects/pack/*.idx", flip),
		"index of rubbish":      each("objects/pack/*.idx", fill("rubbish")),
		"index gone":            each("objects/pack/*.idx", os.Remove),
		"ref of rubbish":        each("refs/fleet/tip", fill("rubbish")),
		"ref of nothing":        each("refs/fleet/tip", fill("")),
		"ref to missing commit": each("refs/fleet/tip", fill(strings.Repeat("12", 20)+"\n")),
		"HEAD of rubbish": func(t testing.TB, dir string) {
			write(t, filepath.Join(dir, "HEAD"), "\x00\xff rubbish")
			write(t, filepath.Join(dir, "config"), "[[[")
			write(t, filepath.Join(dir, "packed-refs"), "rubbish\n")
			write(t, filepath.Join(dir, "shallow"), "rubbish\n")
		},
		"objects is a file": each("objects", func(p string) error {
			if err := os.RemoveAll(p); err != nil {
				return err
			}
			return os.WriteFile(p, []byte("x"), 0o600)
		}),
		"all is a file": each("", func(p string) error {
			if err := os.RemoveAll(p); err != nil {
				return err
			}
			return os.WriteFile(p, []byte("x"), 0o600)
		}),
		"half a transfer": each("objects/pack", func(p string) error { return os.WriteFile(filepath.Join(p, "tmp-1"), []byte("PACK"), 0o600) }),
	}
}

// An object that is readable, and another one than its name says: no checksum of the storage notices.
func TestGitCacheThatLies(t *testing.T) {
	t.Parallel()
	r := newHTTPSRepo(t)
	id := r.commit(t, state("the truth"))
	cache := filepath.Join(t.TempDir(), "cache")
	g := r.open(t, func(c *source.GitConfig) { c.CacheDir = cache })
	tree := fetchOK(t, g)
	write(t, filepath.Join(r.base, "lie"), "a lie")
	lie := r.git(t, r.work, "hash-object", "-w", filepath.Join(r.base, "lie"))
	truth := r.git(t, r.work, "rev-parse", id+":fleet.yaml")
	object := func(dir, h string) string { return filepath.Join(dir, "objects", h[:2], h[2:]) }
	if err := os.RemoveAll(tree.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(cache, "git/objects")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(cache, "git/objects"), os.DirFS(filepath.Join(r.bare, "objects"))); err != nil {
		t.Fatal(err)
	}
	forged := object(filepath.Join(cache, "git"), truth)
	if err := os.Remove(forged); err != nil {
		t.Fatal(err)
	}
	write(t, forged, string(mustRead(t, object(r.bare, lie))))
	again := fetchOK(t, g)
	if got := mustRead(t, filepath.Join(again.Dir, "fleet.yaml")); string(got) != "the truth" {
		t.Errorf("the tree has %q", got)
	}
}

// A cache does not grow for ever.
func TestGitCacheIsThrownAwayWhenFull(t *testing.T) {
	t.Parallel()
	r := newHTTPSRepo(t)
	r.commit(t, state("1"))
	cache := filepath.Join(t.TempDir(), "cache")
	g := r.open(t, func(c *source.GitConfig) { c.CacheDir = cache })
	fetchOK(t, g)
	packs := filepath.Join(cache, "git/objects/pack")
	for i := range 2001 {
		write(t, filepath.Join(cache, "git/objects/ab", fmt.Sprintf("%038d", i)), "x")
	}
	r.commit(t, state("2"))
	fetchOK(t, g)
	if list, err := os.ReadDir(filepath.Join(cache, "git/objects/ab")); err == nil {
		t.Errorf("%d loose objects left in a full cache", len(list))
	}
	if list, err := os.ReadDir(packs); err != nil || len(list) != 2 {
		t.Errorf("%d files in a full cache after a fetch (%v), want one pack and its index", len(list), err)
	}
}

// A link in the cache's place leads neither the clean-up nor what is stored out of the cache.
func TestGitCacheLeavesFoldersBehindLinksAlone(t *testing.T) {
	t.Parallel()
	r := newHTTPSRepo(t)
	id := r.commit(t, state("1"))
	for name, link := range map[string]string{"objects": "git/objects", "packs": "git/objects/pack"} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			cache, other := filepath.Join(base, "cache"), filepath.Join(base, "other")
			write(t, filepath.Join(other, "tmp-precious"), "x")
			if err := os.MkdirAll(filepath.Dir(filepath.Join(cache, link)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(other, filepath.Join(cache, link)); err != nil {
				t.Fatal(err)
			}
			g := r.open(t, func(c *source.GitConfig) { c.CacheDir = cache })
			if got := fetchOK(t, g).Revision.ID; got != id {
				t.Errorf("revision %s, want %s", got, id)
			}
			if list, err := os.ReadDir(other); err != nil || len(list) != 1 || list[0].Name() != "tmp-precious" {
				t.Errorf("behind the link: %v, %v, want tmp-precious only", list, err)
			}
		})
	}
}
