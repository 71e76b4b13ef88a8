package state_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/state"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/treehash"
)

// repository writes files by path; a path that ends in "*" is executable.
func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		mode := fs.FileMode(0o600)
		if plain, found := strings.CutSuffix(name, "*"); found {
			name, mode = plain, 0o700
		}
		at := filepath.Join(root, name)
		ok(t, os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, []byte(text), mode))
	}
	return root
}

func source(t *testing.T, root, path string) api.RepoSource {
	t.Helper()
	digest, err := treehash.RepoDigest(os.DirFS(root), path)
	ok(t, err)
	return api.RepoSource{Path: path, Digest: digest}
}

func files(t *testing.T) (*state.Files, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "files")
	f := state.NewFiles(dir)
	t.Cleanup(func() { _ = f.Prune(nil) }) // folders without write permission
	return f, dir
}

func materialise(t *testing.T, f *state.Files, root string, src api.RepoSource) string {
	t.Helper()
	host, err := f.Materialise(t.Context(), root, src)
	ok(t, err)
	return host
}

func inode(t *testing.T, name string) uint64 {
	t.Helper()
	info, err := os.Stat(name)
	ok(t, err)
	return info.Sys().(*syscall.Stat_t).Ino
}

func TestMaterialise(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	root := repository(t, map[string]string{"c/prom.yml": "rules", "c/bin/run*": "#!", "c/bin/d/x": "", "moved/prom.yml": "rules"})
	f, dir := files(t)
	folder, file := source(t, root, "c"), source(t, root, "c/prom.yml")
	host := materialise(t, f, root, folder)
	if want := filepath.Join(dir, strings.TrimPrefix(folder.Digest, "sha256:"), "c"); host != want {
		t.Errorf("folder is at %s, want %s", host, want)
	}
	for name, want := range map[string]fs.FileMode{".": 0o555, "prom.yml": 0o444, "bin": 0o555, "bin/run": 0o555, "bin/d": 0o555, "bin/d/x": 0o444} {
		if info, err := os.Stat(filepath.Join(host, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v (%v)", name, info.Mode(), want, err)
		}
	}
	if got := source(t, filepath.Dir(host), "c").Digest; got != folder.Digest {
		t.Errorf("copy has %s", got)
	}
	single := materialise(t, f, root, file)
	if text, err := os.ReadFile(single); string(text) != "rules" || filepath.Base(single) != "prom.yml" {
		t.Errorf("%s holds %q, %v", single, text, err)
	}
	// Moved inside the repository, or the repository gone: the same copy.
	before := inode(t, single)
	if again := materialise(t, f, root, source(t, root, "moved/prom.yml")); again != single || inode(t, again) != before {
		t.Errorf("moved file is at %s, want the same copy %s", again, single)
	}
	if again := materialise(t, f, filepath.Join(root, "gone"), folder); again != host {
		t.Errorf("second time at %s", again)
	}
	// Same content under another name beside it.
	ok(t, os.WriteFile(filepath.Join(root, "other.yml"), []byte("rules"), 0o600))
	if other := materialise(t, f, root, source(t, root, "other.yml")); filepath.Dir(other) != filepath.Dir(single) || other == single {
		t.Errorf("other name is at %s", other)
	}
}

func TestDamagedCopyIsMadeAgain(t *testing.T) {
	damages := map[string]func(host, dir string) error{
		"content": func(host, _ string) error { return rewrite(filepath.Join(host, "a"), "evil") },
		"file removed": func(host, _ string) error {
			return errors.Join(os.Chmod(host, 0o755), os.Remove(filepath.Join(host, "a")))
		},
		"file added": func(host, _ string) error {
			return errors.Join(os.Chmod(host, 0o755), os.WriteFile(filepath.Join(host, "b"), nil, 0o444))
		},
		"copy removed": func(host, _ string) error { return errors.Join(os.Chmod(host, 0o755), os.RemoveAll(host)) },
		"linked away": func(host, _ string) error {
			return errors.Join(os.Chmod(host, 0o755), os.Remove(filepath.Join(host, "a")), os.Symlink("/etc/passwd", filepath.Join(host, "a")))
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			root := repository(t, map[string]string{"c/a": "good"})
			f, dir := files(t)
			src := source(t, root, "c")
			host := materialise(t, f, root, src)
			ok(t, damage(host, dir))
			if again := materialise(t, f, root, src); again != host {
				t.Errorf("made again at %s", again)
			}
			if got := source(t, filepath.Dir(host), "c").Digest; got != src.Digest {
				t.Errorf("the copy still has %s", got)
			}
		})
	}
}

func rewrite(name, text string) error {
	return errors.Join(os.Chmod(name, 0o644), os.WriteFile(name, []byte(text), 0o644), os.Chmod(name, 0o444))
}

// Running containers have the copy bound: one that merely looks different stays where it is.
func TestRightCopyIsKept(t *testing.T) {
	changes := map[string]func(host, dir string) error{
		"note lost":    func(_, dir string) error { return os.RemoveAll(filepath.Join(dir, ".notes")) },
		"times":        func(host, _ string) error { return os.Chtimes(filepath.Join(host, "a"), time.Now(), time.Unix(1, 0)) },
		"modes":        func(host, _ string) error { return os.Chmod(filepath.Join(host, "a"), 0o666) },
		"note damaged": func(_, dir string) error { return damageNotes(dir) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			root := repository(t, map[string]string{"c/a": "good"})
			f, dir := files(t)
			src := source(t, root, "c")
			host := materialise(t, f, root, src)
			before := inode(t, host)
			ok(t, change(host, dir))
			if again := materialise(t, f, root, src); again != host || inode(t, again) != before {
				t.Error("the copy was replaced")
			}
			if info, err := os.Stat(filepath.Join(host, "a")); err != nil || info.Mode().Perm() != 0o444 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})
	}
}

func damageNotes(dir string) error {
	return filepath.WalkDir(filepath.Join(dir, ".notes"), func(at string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return os.WriteFile(at, []byte(`[{"na`), 0o600)
	})
}

func TestMaterialiseRefuses(t *testing.T) {
	root := repository(t, map[string]string{"c/a": "x", "l/b": "y"})
	ok(t, os.Symlink("/etc/passwd", filepath.Join(root, "l", "out")), os.Symlink("c", filepath.Join(root, "via")))
	ok(t, syscall.Mkfifo(filepath.Join(root, "fifo"), 0o600))
	good := source(t, root, "c").Digest
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	cases := []struct {
		name string
		ctx  context.Context
		src  api.RepoSource
		want error
	}{
		{"other content", t.Context(), api.RepoSource{Path: "c/a", Digest: good}, state.ErrDigest},
		{"link below", t.Context(), api.RepoSource{Path: "l", Digest: good}, treehash.ErrKind},
		{"link on the way", t.Context(), api.RepoSource{Path: "via/a", Digest: good}, treehash.ErrKind},
		{"pipe", t.Context(), api.RepoSource{Path: "fifo", Digest: good}, treehash.ErrKind},
		{"outside", t.Context(), api.RepoSource{Path: "../c", Digest: good}, fs.ErrInvalid},
		{"absolute", t.Context(), api.RepoSource{Path: "/etc/passwd", Digest: good}, fs.ErrInvalid},
		{"absent", t.Context(), api.RepoSource{Path: "nothing", Digest: good}, fs.ErrNotExist},
		{"digest with a path", t.Context(), api.RepoSource{Path: "c", Digest: "sha256:../../../etc"}, fs.ErrInvalid},
		{"no digest", t.Context(), api.RepoSource{Path: "c"}, fs.ErrInvalid},
		{"cancelled", cancelled, api.RepoSource{Path: "c", Digest: good}, context.Canceled},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, dir := files(t)
			host, err := f.Materialise(c.ctx, root, c.src)
			if !errors.Is(err, c.want) {
				t.Errorf("got %q and error %v, want %v", host, err, c.want)
			}
			ok(t, filepath.WalkDir(dir, func(at string, entry fs.DirEntry, err error) error {
				if err == nil && !entry.IsDir() {
					t.Errorf("%s is left behind", at)
				}
				return nil
			}))
		})
	}
}

func TestPrune(t *testing.T) {
	root := repository(t, map[string]string{"keep/d/a": "1", "drop/d/a": "2"})
	f, dir := files(t)
	keep, drop := source(t, root, "keep"), source(t, root, "drop")
	kept, dropped := materialise(t, f, root, keep), materialise(t, f, root, drop)
	ok(t, os.Mkdir(filepath.Join(dir, ".new-left"), 0o700), f.Prune(map[string]bool{keep.Digest: true}))
	if _, err := os.Stat(filepath.Join(kept, "d", "a")); err != nil {
		t.Errorf("kept: %v", err)
	}
	for _, name := range []string{dropped, filepath.Join(dir, ".new-left"), filepath.Join(dir, ".notes", filepath.Base(filepath.Dir(dropped)))} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if again := materialise(t, f, root, drop); again != dropped {
		t.Errorf("after the prune at %s", again)
	}
	ok(t, state.NewFiles(filepath.Join(dir, "absent")).Prune(nil))
}

func TestMaterialiseOnAFullDisk(t *testing.T) {
	dir := tmpfs(t, "1m")
	root := repository(t, map[string]string{"big": strings.Repeat("x", 600_000)})
	src := source(t, root, "big")
	exhaust(t, filepath.Join(dir, "junk"))
	f := state.NewFiles(filepath.Join(dir, "files"))
	var classed *state.Error
	if _, err := f.Materialise(t.Context(), root, src); !errors.Is(err, state.ErrDiskFull) || !errors.As(err, &classed) || classed.Class != api.Waiting {
		t.Fatalf("got %v", err)
	}
	ok(t, os.Remove(filepath.Join(dir, "junk")))
	materialise(t, f, root, src)
}
