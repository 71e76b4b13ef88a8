package state

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
)

// noted is one file or folder of a copy as it was when the copy was made. To change the
// content without a trace takes setting the time back, and who can do that on this
// folder is root already.
type noted struct {
	Name     string      `json:"name"`
	Mode     fs.FileMode `json:"mode"`
	Size     int64       `json:"size,omitzero"`
	Modified int64       `json:"modified,omitzero"` // nanoseconds since 1970, files only
}

// look lists a copy without reading content.
func look(host string) ([]noted, error) {
	var all []noted
	err := filepath.WalkDir(host, func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(host, at)
		if err != nil {
			return err
		}
		one := noted{Name: name, Mode: info.Mode()}
		if !entry.IsDir() {
			one.Size, one.Modified = info.Size(), info.ModTime().UnixNano()
		}
		all = append(all, one)
		return nil
	})
	return all, err
}

// notice writes down what the copy looks like.
func (*Files) notice(at place) error {
	all, err := look(at.host)
	if err != nil {
		return err
	}
	data, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(at.note), 0o700); err != nil {
		return err
	}
	return os.WriteFile(at.note, data, 0o600)
}

// intact tells whether the copy looks as it did. A missing, torn or older note means no:
// then the copy is made again.
func (*Files) intact(at place) bool {
	data, err := readFile(at.note, 16<<20)
	if err != nil {
		return false
	}
	var want []noted
	if json.Unmarshal(data, &want) != nil {
		return false
	}
	have, err := look(at.host)
	if err != nil || len(have) != len(want) {
		return false
	}
	for i := range have {
		if have[i] != want[i] {
			return false
		}
	}
	return true
}

// mended takes a copy that has the right content but looks different (no note since a
// crash, restored from a backup, modes changed) as it is, with the right modes: putting
// another one in its place would leave running containers with the old one.
func (f *Files) mended(at place, digest string) bool {
	if verify(filepath.Dir(at.host), at.base, digest) != nil {
		return false
	}
	err := filepath.WalkDir(at.host, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(fileMode)
		switch {
		case entry.IsDir():
			mode = folderMode
		case info.Mode()&0o111 != 0:
			mode = executableMode
		}
		return os.Chmod(name, mode) //nolint:gosec // only root writes below this folder
	})
	return err == nil && f.notice(at) == nil
}
