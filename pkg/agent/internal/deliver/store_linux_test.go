package deliver_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ktrdr.io/fleet/pkg/agent/internal/deliver"
	"ktrdr.io/fleet/pkg/api"
)

const (
	ref    = "op://KTRDR Homelab Secrets/core/db_password"
	canary = "q\"uo$te\\back\nnew\tümlaut'"
)

// memory is a store on a tmpfs of the test's own.
func memory(t *testing.T) (*deliver.Store, deliver.Config) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run", "secrets")
	cfg := deliver.Config{Dir: dir, Exec: program(t), Copies: filepath.Join(t.TempDir(), "exec")}
	if err := deliver.Mount(dir); err != nil {
		t.Skipf("SKIPPED: needs a tmpfs of its own: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := deliver.New(cfg, slog.New(slog.DiscardHandler))
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	return s, cfg
}

// program is a static program that stands for ktrdr-exec.
func program(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ktrdr-exec")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, filepath.Join(dir, "main.go"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func content(digest string) deliver.Content {
	return deliver.Content{
		Digest: digest, Values: map[string]string{ref: canary},
		Files: []api.File{{Content: canary, Mode: 0o440, UID: 999, GID: 1500}, {Content: "plain"}},
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWriteAndRemove(t *testing.T) {
	s, cfg := memory(t)
	folder, done := s.New("ktrdr-backend")
	if !strings.HasPrefix(folder, "ktrdr-backend.") || s.Held(folder) != "" {
		t.Fatalf("folder %q", folder)
	}
	if err := s.Write(folder, content("v1:one")); err != nil {
		t.Fatal(err)
	}
	paths, err := s.Paths(folder, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(paths.Values, api.SecretsCurrent, api.SecretFileName(ref))); got != canary {
		t.Errorf("value %q", got)
	}
	if got := read(t, paths.Files[0]); got != canary {
		t.Errorf("file %q", got)
	}
	mode(t, cfg.Dir, 0o700)
	mode(t, filepath.Join(paths.Values, api.SecretsCurrent, api.SecretFileName(ref)), 0o444)
	mode(t, paths.Files[0], 0o440)
	mode(t, paths.Files[1], 0o444)
	mode(t, paths.Exec, 0o555)
	if got := s.Values(); len(got) != 3 || got[0] != canary {
		t.Errorf("%d values", len(got))
	}
	if st := owner(t, paths.Files[0]); st.Uid != 999 || st.Gid != 1500 {
		t.Errorf("owner %d:%d", st.Uid, st.Gid)
	}
	if s.Held(folder) != "v1:one" || s.Folders()[folder] != "v1:one" {
		t.Errorf("held: %v", s.Folders())
	}
	done()
	for range 2 {
		if err := s.Remove(folder); err != nil {
			t.Error(err)
		}
	}
	if len(s.Folders()) > 0 || s.Held(folder) != "" {
		t.Errorf("left: %v", s.Folders())
	}
}

// TestRewrite: a new content takes the place of the old one at once; the old file stays
// readable for who has it open, as a bind does.
func TestRewrite(t *testing.T) {
	s, _ := memory(t)
	folder, _ := s.New("web")
	if err := s.Write(folder, content("v1:one")); err != nil {
		t.Fatal(err)
	}
	paths, _ := s.Paths(folder, 2)
	link := filepath.Join(paths.Values, api.SecretsCurrent)
	before, err := os.Readlink(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(folder, content("v1:one")); err != nil {
		t.Fatal(err)
	}
	if same, _ := os.Readlink(link); same != before {
		t.Error("the same content was written again")
	}
	next := content("v1:two")
	next.Values = map[string]string{ref: "second", "op://v/i/f": "third"}
	if err := s.Write(folder, next); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(link, api.SecretFileName(ref))); got != "second" {
		t.Errorf("value %q", got)
	}
	entries, err := os.ReadDir(paths.Values)
	if err != nil || len(entries) != 2 {
		t.Errorf("earlier values are still there: %v %v", entries, err)
	}
}

// TestHalfWritten: a folder without its digest does not count, and is written anew.
func TestHalfWritten(t *testing.T) {
	s, cfg := memory(t)
	folder, _ := s.New("web")
	broken := content("v1:one")
	broken.Files = append(broken.Files, api.File{Content: strings.Repeat("x", 64<<20)}) // larger than the tmpfs
	err := s.Write(folder, broken)
	if !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "xxx") {
		t.Fatalf("no space: %.200v", err)
	}
	if s.Held(folder) != "" || len(s.Folders()) > 0 {
		t.Error("half a folder counts as one")
	}
	if err := os.RemoveAll(filepath.Join(cfg.Dir, folder, "files")); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(folder, content("v1:one")); err != nil || s.Held(folder) != "v1:one" {
		t.Errorf("%v, holds %q", err, s.Held(folder))
	}
}

// TestNeverOnDisk: without memory nothing is written, and the error says how to get some.
func TestNeverOnDisk(t *testing.T) {
	dir := t.TempDir()
	s := deliver.New(deliver.Config{Dir: dir, Exec: "/nonexistent", Copies: t.TempDir()}, slog.New(slog.DiscardHandler))
	folder, _ := s.New("web")
	err := s.Write(folder, content("v1:one"))
	if err == nil || !strings.Contains(err.Error(), "on a disk") {
		t.Errorf("written to a disk: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("left on the disk: %v", entries)
	}
}

func TestNames(t *testing.T) {
	s, _ := memory(t)
	for _, name := range []string{"", ".", "..", "../x.0123456789abcdef", "a/b.0123456789abcdef", "web", "web.0123456789abcdeg", ".0123456789abcdef"} {
		if s.Write(name, content("v1:x")) == nil || s.Remove(name) == nil || s.Held(name) != "" {
			t.Errorf("%q is taken for a folder", name)
		}
	}
}

// TestPrune: what a container binds stays, and what one is being created for; the rest
// goes, copies of an older ktrdr-exec included.
func TestPrune(t *testing.T) {
	s, cfg := memory(t)
	var folders []string
	for _, name := range []string{"bound", "making", "orphan", "late"} {
		folder, done := s.New(name)
		if err := s.Write(folder, content("v1:"+name)); err != nil {
			t.Fatal(err)
		}
		if name != "making" {
			done()
		}
		folders = append(folders, folder)
	}
	old := filepath.Join(cfg.Copies, strings.Repeat("0a", 32), "ktrdr-exec")
	unbound := filepath.Join(cfg.Copies, strings.Repeat("0b", 32), "ktrdr-exec")
	for _, path := range []string{old, unbound} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // no secrets in it
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := s.Prune(func() []string {
		// Created and observed after the folders were listed.
		return []string{"/elsewhere", filepath.Join(cfg.Dir, folders[0], "values"), filepath.Join(cfg.Dir, folders[3], "files", "0"), old}
	})
	if err != nil || len(removed) != 1 || removed[0] != folders[2] {
		t.Errorf("removed %v, %v", removed, err)
	}
	held := s.Folders()
	if len(held) != 3 || held[folders[2]] != "" {
		t.Errorf("left: %v", held)
	}
	paths, _ := s.Paths(folders[0], 0)
	for path, stays := range map[string]bool{old: true, unbound: false, paths.Exec: true} {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) == stays {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestProgram: what can't run in every image is refused in words, and copies are made once.
func TestProgram(t *testing.T) {
	s, cfg := memory(t)
	paths, err := s.Paths("web.0123456789abcdef", 0)
	if err != nil {
		t.Fatal(err)
	}
	if read(t, paths.Exec) != read(t, cfg.Exec) {
		t.Error("the copy is another program")
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{"/nonexistent": "execPath", sh: "static", "/etc/passwd": "not a Linux program"} {
		other := cfg
		other.Exec = path
		if err := deliver.New(other, slog.New(slog.DiscardHandler)).Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := os.Remove(paths.Exec); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil || read(t, paths.Exec) != read(t, cfg.Exec) {
		t.Errorf("a lost copy is not made again: %v", err)
	}
}

func TestMountTwice(t *testing.T) {
	_, cfg := memory(t)
	if err := deliver.Mount(cfg.Dir); err != nil {
		t.Error(err)
	}
	if n := strings.Count(read(t, "/proc/self/mountinfo"), " "+cfg.Dir+" "); n != 1 {
		t.Errorf("mounted %d times", n)
	}
}

func mode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != want {
		t.Errorf("%s has mode %v, wanted %v", path, info.Mode().Perm(), want)
	}
}

func owner(t *testing.T, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("no owner")
	}
	return st
}
