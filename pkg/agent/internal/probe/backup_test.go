package probe_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/probe"
	"ktrdr.io/fleet/pkg/api"
)

// dump makes a file of a size and an age.
func dump(t *testing.T, name string, size int64, age time.Duration) {
	t.Helper()
	check(t, os.WriteFile(name, nil, 0o600))
	check(t, os.Truncate(name, size))
	check(t, os.Chtimes(name, time.Time{}, time.Now().Add(-age)))
}

func TestBackupFiles(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	dump(t, in("ktrdr-1.dump"), 100, 48*time.Hour)
	dump(t, in("ktrdr-2.dump"), 200, 24*time.Hour)
	dump(t, in("ktrdr-3.dump"), 10, time.Hour)
	dump(t, in("ktrdr-0.dump"), 10, 72*time.Hour)
	dump(t, in("ktrdr-9.dump"), 500, -2*time.Hour)
	dump(t, in("other.dump"), 500, time.Minute)
	dump(t, in("ktrdr-4.dump.part"), 500, time.Minute)
	dump(t, filepath.Join(t.TempDir(), "elsewhere"), 500, time.Minute)
	check(t, os.Mkdir(in("ktrdr-5.dump"), 0o755))
	check(t, os.Symlink("other.dump", in("ktrdr-6.dump")))
	m := mounts(t, probe.Config{})
	look := func(pattern string, minSize int64) probe.BackupFiles {
		t.Helper()
		files, err := m.Backup(t.Context(), api.Backup{Path: dir, Pattern: pattern, MinSize: minSize})
		check(t, err)
		return files
	}
	got := look("ktrdr-*.dump", 100)
	if got.Newest.Name != "ktrdr-2.dump" || got.Newest.Size != 200 || time.Since(got.Newest.Time).Round(time.Hour) != 24*time.Hour {
		t.Errorf("newest is %+v", got.Newest)
	}
	if got.Small.Name != "ktrdr-3.dump" || got.Small.Size != 10 || got.Ahead != 1 {
		t.Errorf("the newest that is too small is %+v, %d are ahead", got.Small, got.Ahead)
	}
	if got := look("ktrdr-*.dump", 1); got.Newest.Name != "ktrdr-3.dump" || got.Small.Name != "" {
		t.Errorf("with another size: %+v", got)
	}
	if got := look("*.tar", 1); got != (probe.BackupFiles{}) {
		t.Errorf("none matches, but %+v", got)
	}
	if got := look("*", 1); got.Newest.Size != 500 {
		t.Errorf("all files: %+v", got)
	}
	for path, word := range map[string]string{in("none"): "no such file", in("other.dump"): "not a directory"} {
		_, err := m.Backup(t.Context(), api.Backup{Path: path, Pattern: "*"})
		if err == nil || !strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), path) || errors.Is(err, probe.ErrHung) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestBackupFolderIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 51 {
		dump(t, filepath.Join(dir, strconv.Itoa(i)), 1, 0)
	}
	m := mounts(t, probe.Config{MaxEntries: 50})
	_, err := m.Backup(t.Context(), api.Backup{Path: dir, Pattern: "*.dump"})
	if err == nil || !strings.Contains(err.Error(), "more than 50 entries") {
		t.Errorf("a folder of 51 files: %v", err)
	}
	check(t, os.Remove(filepath.Join(dir, "0")))
	if _, err := m.Backup(t.Context(), api.Backup{Path: dir, Pattern: "*.dump"}); err != nil {
		t.Errorf("a folder of 50 files: %v", err)
	}
}

// A folder of backups on a dead file server holds up one helper, and nobody else.
func TestHungBackup(t *testing.T) {
	h := mountHangFS(t)
	m := mounts(t, probe.Config{})
	// The mount's own probe has given a helper up there: the look is told at once.
	hang(t, h, m, func(limit time.Duration) {
		expect(t, m.Probe(t.Context(), api.RequiredMount{Path: h.dir, Timeout: limit}), api.ReasonMountHung)
	})
	_, err := m.Backup(t.Context(), api.Backup{Path: h.dir, Pattern: "*"})
	if !errors.Is(err, probe.ErrHung) || !strings.Contains(err.Error(), "no answer since") { // not "within": it did not wait
		t.Error(err)
	}
	if n := len(children(t)); n != 1 {
		t.Errorf("%d helpers hang on one path", n)
	}
	other := t.TempDir()
	dump(t, filepath.Join(other, "a"), 1, 0)
	if files, err := m.Backup(t.Context(), api.Backup{Path: other, Pattern: "*", MinSize: 1}); err != nil || files.Newest.Name != "a" {
		t.Errorf("another folder: %+v, %v", files, err)
	}
	h.release()
	until(t, "the helper ends", func() bool { return m.Hung() == 0 })
}
