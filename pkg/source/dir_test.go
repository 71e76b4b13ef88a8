package source_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/source/sourcetest"
)

// folder is a plain directory as an origin.
type folder struct{ dir string }

func newFolder(t testing.TB) sourcetest.Origin {
	f := folder{dir: filepath.Join(t.TempDir(), "state")}
	if err := os.Mkdir(f.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f folder) Publish(t testing.TB, changes sourcetest.Files) {
	t.Helper()
	sourcetest.WriteTo(t, f.dir, changes)
}

func (f folder) Hide(t testing.TB) func() {
	t.Helper()
	if err := os.Rename(f.dir, f.dir+".away"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Rename(f.dir+".away", f.dir); err != nil {
			t.Fatal(err)
		}
	}
}

func (f folder) Open(t testing.TB, o sourcetest.Options) source.Source {
	t.Helper()
	d, err := source.NewDir(source.DirConfig{Root: f.dir, Path: o.Path, CacheDir: o.CacheDir, Limits: o.Limits})
	if err != nil {
		t.Fatalf("NewDir: %v", err)
	}
	return d
}

func TestDirConformance(t *testing.T) { sourcetest.Run(t, newFolder) }

// openDir makes a source over a folder with one file and drains the first rings.
func openDir(t *testing.T, cfg source.DirConfig) *source.Dir {
	t.Helper()
	if cfg.CacheDir == "" {
		cfg.CacheDir = filepath.Join(t.TempDir(), "cache")
	}
	d, err := source.NewDir(cfg)
	if err != nil {
		t.Fatalf("NewDir: %v", err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// rings waits for the bell.
func rings(t testing.TB, d *source.Dir, what string) {
	t.Helper()
	select {
	case <-d.Changes():
	case <-time.After(sourcetest.Patience):
		t.Fatalf("%s: no ring", what)
	}
}

// settled empties the bell until the folder has been quiet for longer than the longest debounce.
func settled(d *source.Dir) {
	for {
		select {
		case <-d.Changes():
		case <-time.After(300 * time.Millisecond):
			return
		}
	}
}

func TestDirRings(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	root := filepath.Join(base, "state")
	write(t, filepath.Join(root, "a", "b", "f"), "1")
	write(t, filepath.Join(root, ".git", "HEAD"), "x")
	d := openDir(t, source.DirConfig{Root: root})
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"write in place", func() error { return os.WriteFile(filepath.Join(root, "a/b/f"), []byte("2"), 0o600) }},
		{"chmod", func() error { return os.Chmod(filepath.Join(root, "a/b/f"), 0o700) }},
		{"rename a folder", func() error { return os.Rename(filepath.Join(root, "a"), filepath.Join(root, "c")) }},
		{"write below the renamed folder", func() error { return os.WriteFile(filepath.Join(root, "c/b/f"), []byte("3"), 0o600) }},
		{"new folder below the renamed folder", func() error { return os.Mkdir(filepath.Join(root, "c/b/n"), 0o700) }},
		{"write in that", func() error { return os.WriteFile(filepath.Join(root, "c/b/n/f"), []byte("4"), 0o600) }},
		{"remove the root", func() error { return os.RemoveAll(root) }},
		{"make the root again", func() error { return os.Mkdir(root, 0o700) }},
		{"write in the new root", func() error { return os.WriteFile(filepath.Join(root, "f"), []byte("5"), 0o600) }},
		{"replace the root", func() error {
			if err := os.MkdirAll(filepath.Join(base, "next", "x"), 0o700); err != nil {
				return err
			}
			if err := os.Rename(root, filepath.Join(base, "old")); err != nil {
				return err
			}
			return os.Rename(filepath.Join(base, "next"), root)
		}},
		{"write in the replaced root", func() error { return os.WriteFile(filepath.Join(root, "x/f"), []byte("6"), 0o600) }},
	} {
		settled(d)
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		rings(t, d, step.name)
	}
}

func TestDirRootIsALinkThatMoves(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	write(t, filepath.Join(base, "r1", "f"), "1")
	write(t, filepath.Join(base, "r2", "f"), "2")
	root := filepath.Join(base, "current")
	if err := os.Symlink("r1", root); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, source.DirConfig{Root: root})
	first := fetchOK(t, d)
	if err := os.Symlink("r2", root+".new"); err != nil {
		t.Fatal(err)
	}
	settled(d)
	if err := os.Rename(root+".new", root); err != nil {
		t.Fatal(err)
	}
	rings(t, d, "link pointed elsewhere")
	if second := fetchOK(t, d); second.Revision.ID == first.Revision.ID {
		t.Errorf("the link's new folder was not read")
	}
	settled(d)
	write(t, filepath.Join(base, "r2", "f"), "3")
	rings(t, d, "write behind the new link")
}

func TestDirIgnores(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, filepath.Join(root, "f"), "1")
	d := openDir(t, source.DirConfig{Root: root})
	first := fetchOK(t, d)
	settled(d)
	for _, name := range []string{".git/index", ".f.swp", "f~", ".#f", "4913", "sub/../#f#"} {
		write(t, filepath.Join(root, name), "x")
	}
	select {
	case <-d.Changes():
		// Making .git is an event on its parent, but of an ignored name.
		t.Errorf("an ignored file rang")
	case <-time.After(200 * time.Millisecond):
	}
	if again := fetchOK(t, d); again != first {
		t.Errorf("ignored files made a revision: %+v", again)
	}
}

// A folder that never gets quiet rings nevertheless.
func TestDirRingsInTime(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	d := openDir(t, source.DirConfig{Root: root, Quiet: 300 * time.Millisecond, MaxWait: 300 * time.Millisecond})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	stop := time.After(sourcetest.Patience)
	for i := 0; ; i++ {
		select {
		case <-d.Changes():
			return
		case <-stop:
			t.Fatal("a busy folder never rang")
		case <-tick.C:
			write(t, filepath.Join(root, "busy"), fmt.Sprint(i))
		}
	}
}

// The first event of a change rings the early bell, long before the folder counts as quiet.
func TestDirRingsEarly(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	d := openDir(t, source.DirConfig{Root: root, Quiet: time.Hour, MaxWait: time.Hour})
	write(t, filepath.Join(root, "f"), "1")
	select {
	case <-d.Early():
	case <-time.After(sourcetest.Patience):
		t.Fatal("no early ring")
	}
	select {
	case <-d.Changes():
		t.Error("rang before the folder was quiet")
	default:
	}
}

func TestDirRefusesSpecialFiles(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, source.DirConfig{Root: root})
	_, err := d.Fetch(t.Context(), "")
	wantError(t, err, source.ReasonInvalid, "pipe is a named pipe")
}

func TestDirSubFolderCantLeaveRoot(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	write(t, filepath.Join(base, "outside", "f"), "secret")
	root := filepath.Join(base, "state")
	write(t, filepath.Join(root, "f"), "1")
	if err := os.Symlink("../outside", filepath.Join(root, "out")); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, source.DirConfig{Root: root, Path: "out"})
	_, err := d.Fetch(t.Context(), "")
	wantError(t, err, source.ReasonInvalid, "escapes")
}

// A writer that never stops must not get a torn copy accepted: what is in a tree is what its ID says.
func TestDirNeverReturnsATornCopy(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	names := make([]string, 60)
	for i := range names {
		names[i] = filepath.Join(root, fmt.Sprint(i))
	}
	round := func(v int) {
		for _, name := range names {
			write(t, name+"~", fmt.Sprint(v))
			if err := os.Rename(name+"~", name); err != nil {
				t.Error(err)
			}
		}
	}
	round(0)
	d := openDir(t, source.DirConfig{Root: root})
	var trees int
	for v := 1; v <= 20; v++ {
		done := make(chan struct{})
		go func() { defer close(done); round(v) }()
		tree, err := d.Fetch(t.Context(), "")
		<-done
		if err != nil {
			if source.ReasonOf(err) != source.ReasonChanging {
				t.Fatalf("Fetch: %v", err)
			}
			continue
		}
		trees++
		if got := fetchOK(t, openDir(t, source.DirConfig{Root: tree.Dir})).Revision.ID; got != tree.Revision.ID {
			t.Fatalf("tree %s has the content of %s", tree.Revision.ID, got)
		}
	}
	if trees == 0 {
		t.Errorf("no copy succeeded in 20 rounds")
	}
	last := fetchOK(t, d)
	for i := range names {
		if got := mustRead(t, filepath.Join(last.Dir, fmt.Sprint(i))); string(got) != "20" {
			t.Errorf("%d = %q, want 20", i, got)
		}
	}
}

func TestDirConfigProblemsAreJoined(t *testing.T) {
	t.Parallel()
	_, err := source.NewDir(source.DirConfig{
		Path: "../up", Ignore: []string{"["}, Quiet: -1, Limits: source.Limits{MaxFiles: -1, MaxBytes: -1, MaxTransferBytes: -1},
	})
	wantError(t, err, source.ReasonInvalid, "root:", "cacheDir:", "path:", "ignore:", "quiet:", "maxFiles:", "maxBytes:", "maxTransferBytes:")
	root := t.TempDir()
	if err := os.Symlink(root, root+".link"); err != nil {
		t.Fatal(err)
	}
	_, err = source.NewDir(source.DirConfig{Root: root, CacheDir: filepath.Join(root+".link", "not", "yet")})
	wantError(t, err, source.ReasonInvalid, "inside root")
}
