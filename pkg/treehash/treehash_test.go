package treehash_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/treehash"
)

func file(content string, mode fs.FileMode) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(content), Mode: mode}
}

func digest(t *testing.T, tree fstest.MapFS, name string) string {
	t.Helper()
	got, err := treehash.RepoDigest(tree, name)
	if err != nil {
		t.Fatalf("digest of %s: %v", name, err)
	}
	return got
}

// The digest is part of the spec hash: when this value changes, every container that
// mounts repository files is recreated.
func TestDigestIsPinned(t *testing.T) {
	tree := fstest.MapFS{
		"c/a.txt":     file("alpha", 0o644),
		"c/bin/run":   file("#!/bin/sh\n", 0o755),
		"c/bin/empty": file("", 0o600),
	}
	for name, want := range map[string]string{
		"c":       "sha256:d85887e5554809f12e3c59670fa3988e087362d46cc1d411791213a61d933f49",
		"c/a.txt": "sha256:b8132b69c1c5fc8d477c548fb4d3ef72932350a223fcb0ef412fbbdedb399955",
	} {
		if got := digest(t, tree, name); got != want {
			t.Errorf("digest of %s = %s, want %s", name, got, want)
		}
	}
}

func TestWhatChangesTheDigest(t *testing.T) {
	base := func() fstest.MapFS {
		return fstest.MapFS{"c/a": file("alpha", 0o644), "c/d/b": file("beta", 0o644), "e/a": file("alpha", 0o644)}
	}
	cases := []struct {
		name    string
		edit    func(fstest.MapFS)
		path    string
		differs bool
	}{
		{"same", func(fstest.MapFS) {}, "c", false},
		{"moved", func(m fstest.MapFS) { m["x/y/a"], m["x/y/d/b"] = m["c/a"], m["c/d/b"] }, "x/y", false},
		{"write bits", func(m fstest.MapFS) { m["c/a"].Mode = 0o400 }, "c", false},
		{"executable", func(m fstest.MapFS) { m["c/a"].Mode = 0o654 }, "c", true},
		{"content", func(m fstest.MapFS) { m["c/d/b"].Data = []byte("bet") }, "c", true},
		{"renamed file", func(m fstest.MapFS) { m["c/b"] = m["c/a"]; delete(m, "c/a") }, "c", true},
		{"moved between folders", func(m fstest.MapFS) { m["c/b"] = m["c/d/b"]; delete(m, "c/d/b") }, "c", true},
		{"added empty file", func(m fstest.MapFS) { m["c/z"] = file("", 0o644) }, "c", true},
		{"content swapped with name", func(m fstest.MapFS) { m["c/alpha"] = file("a", 0o644); delete(m, "c/a") }, "c", true},
	}
	want := digest(t, base(), "c")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tree := base()
			c.edit(tree)
			if got := digest(t, tree, c.path); (got != want) != c.differs {
				t.Errorf("digest changed: %v, want %v", got != want, c.differs)
			}
		})
	}
	if digest(t, base(), "c/a") != digest(t, base(), "e/a") {
		t.Error("the folder of a file is part of its digest")
	}
	if digest(t, base(), "c/a") == digest(t, base(), "e") {
		t.Error("a file and a folder that holds it have one digest")
	}
}

func TestHiddenNamesAtTheRoot(t *testing.T) {
	if digest(t, fstest.MapFS{".a": file("x", 0o644)}, ".") == digest(t, fstest.MapFS{"a": file("x", 0o644)}, ".") {
		t.Error("a leading dot is not part of the digest")
	}
}

func TestRefused(t *testing.T) {
	folder := t.TempDir()
	write(t, filepath.Join(folder, "real/a"))
	link(t, "real", filepath.Join(folder, "linked"))
	link(t, "a", filepath.Join(folder, "real2/l"))
	many := fstest.MapFS{}
	for i := range treehash.MaxFiles {
		many[fmt.Sprintf("m/%d", i)] = file("", 0o644)
	}
	big := fstest.MapFS{"b/1": file(string(make([]byte, treehash.MaxBytes)), 0o644), "b/2": file("x", 0o644)}
	cases := []struct {
		name string
		tree fs.FS
		path string
		want error
	}{
		{"absent", os.DirFS(folder), "nothing", fs.ErrNotExist},
		{"outside", os.DirFS(folder), "../x", fs.ErrInvalid},
		{"link below", os.DirFS(folder), "real2", treehash.ErrKind},
		{"link itself", os.DirFS(folder), "linked", treehash.ErrKind},
		{"through a link", os.DirFS(folder), "linked/a", treehash.ErrKind},
		{"too many", many, "m", treehash.ErrTooLarge},
		{"too big", big, "b", treehash.ErrTooLarge},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got, err := treehash.RepoDigest(c.tree, c.path); !errors.Is(err, c.want) {
				t.Errorf("got %q and error %v, want %v", got, err, c.want)
			}
		})
	}
	delete(many, "m/0") // the folder counts too
	digest(t, many, "m")
	delete(big, "b/2")
	digest(t, big, "b")
}

func write(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// No two different trees of a small universe, chosen to collide when lengths are not
// covered, have one digest.
func TestDigestsAreDistinct(t *testing.T) {
	seen := map[string]string{}
	rapid.Check(t, func(t *rapid.T) {
		tree := fstest.MapFS{}
		names := rapid.SliceOfDistinct(rapid.StringMatching(`[ab]{1,2}(/[ab]{1,2})?`), rapid.ID).Draw(t, "names")
		for _, name := range names {
			content := rapid.StringMatching(`[ab]{0,3}`).Draw(t, "content")
			tree["r/"+name] = file(content, rapid.SampledFrom([]fs.FileMode{0o644, 0o755}).Draw(t, "mode"))
		}
		if !consistent(tree) {
			t.Skip("a file is a folder")
		}
		tree["r/k"] = file("", 0o644)
		var text string
		_ = fs.WalkDir(tree, "r", func(name string, d fs.DirEntry, _ error) error {
			if !d.IsDir() {
				text += fmt.Sprintf("%q %v %q;", name, tree[name].Mode, tree[name].Data)
			}
			return nil
		})
		got, err := treehash.RepoDigest(tree, "r")
		if err != nil {
			t.Fatal(err)
		}
		if other, found := seen[got]; found && other != text {
			t.Fatalf("%s and %s have one digest", other, text)
		}
		seen[got] = text
	})
}

func consistent(tree fstest.MapFS) bool {
	for name := range tree {
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			if _, isFile := tree[dir]; isFile {
				return false
			}
		}
	}
	return true
}
