package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Limits of a look at a folder of backups.
const (
	backupTimeout     = 20 * time.Second
	defaultMaxEntries = 100_000
	// maxAhead is how far the clock of a file server may be ahead.
	maxAhead = time.Hour
)

// ErrHung is the error of a file system that does not answer.
var ErrHung = errSlow

// BackupFiles is what a folder of backups holds of one pattern.
type BackupFiles struct {
	// Newest is the newest regular file of at least the wanted size; its name is empty when
	// there is none.
	Newest BackupFile `json:"newest,omitzero"`
	// Small is the newest file that is smaller, where it is newer than Newest.
	Small BackupFile `json:"small,omitzero"`
	// Ahead counts files whose time is more than an hour in the future: they don't count.
	Ahead int `json:"ahead,omitzero"`
}

// BackupFile is one file.
type BackupFile struct {
	Name string    `json:"name"`
	Size int64     `json:"size"`
	Time time.Time `json:"time"`
}

// wantedFiles is the part of a request that is about a folder of backups.
type wantedFiles struct {
	Pattern string `json:"pattern"`
	MinSize int64  `json:"minSize"`
	// Max entries of the folder.
	Max int `json:"max"`
}

// Backup looks for the files of a backup in a helper process, within 20 s. Symbolic links and
// whatever else is no regular file don't count. The error is ErrHung when the file system does
// not answer.
func (m *Mounts) Backup(ctx context.Context, b api.Backup) (BackupFiles, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, backupTimeout, errSlow)
	defer cancel()
	a, err := m.ask(ctx, request{Path: b.Path, Timeout: backupTimeout, Files: &wantedFiles{b.Pattern, b.MinSize, m.config.MaxEntries}})
	switch {
	case err != nil:
		return BackupFiles{}, fmt.Errorf("look into %s: %w", b.Path, err)
	case a.Message != "":
		return BackupFiles{}, errors.New(a.Message)
	case a.Files == nil:
		return BackupFiles{}, fmt.Errorf("look into %s: %w", b.Path, errGone)
	}
	return *a.Files, nil
}

// examineFiles is the helper's part.
func examineFiles(want request) answer {
	files, err := want.Files.find(want.Path, time.Now())
	if err != nil {
		return answer{Message: fmt.Sprintf("look into %s: %v", want.Path, cause(err))}
	}
	return answer{Files: &files}
}

func (w wantedFiles) find(dir string, now time.Time) (BackupFiles, error) {
	var found BackupFiles
	folder, err := os.Open(dir)
	if err != nil {
		return found, err
	}
	defer folder.Close() //nolint:errcheck // nothing was written
	for seen := 0; ; {
		entries, err := folder.ReadDir(1000)
		for _, e := range entries {
			if ok, _ := path.Match(w.Pattern, e.Name()); ok {
				found.add(w.file(e), w.MinSize, now)
			}
		}
		if seen += len(entries); seen > w.Max {
			return found, fmt.Errorf("it has more than %d entries: keep backups in a folder of their own", w.Max)
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
	}
}

// file is an entry that is a regular file; its name is empty for all else, and for what is gone by now.
func (wantedFiles) file(e fs.DirEntry) BackupFile {
	if !e.Type().IsRegular() && e.Type() != fs.ModeIrregular {
		return BackupFile{}
	}
	info, err := e.Info()
	if err != nil || !info.Mode().IsRegular() {
		return BackupFile{}
	}
	return BackupFile{Name: e.Name(), Size: info.Size(), Time: info.ModTime()}
}

func (f *BackupFiles) add(file BackupFile, minSize int64, now time.Time) {
	switch {
	case file.Name == "":
	case file.Time.After(now.Add(maxAhead)):
		f.Ahead++
	case file.Size < minSize && file.Time.After(f.Small.Time):
		f.Small = file
	case file.Size >= minSize && file.Time.After(f.Newest.Time):
		f.Newest = file
	}
	if !f.Small.Time.After(f.Newest.Time) {
		f.Small = BackupFile{}
	}
}
