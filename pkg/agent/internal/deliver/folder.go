package deliver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// Layout of a folder. The values change all at once, by a link that is replaced; a file is
// replaced by a rename. digest is written last and removed first: a folder that has one is
// complete.
const (
	valuesDir  = "values"
	filesDir   = "files"
	digestFile = "digest"
)

// Modes. Containers of any user read what is theirs; Config.Dir keeps the host's users out.
const (
	dirMode    = 0o700
	folderMode = 0o755
	valueMode  = 0o444
)

// Content is what a folder holds.
type Content struct {
	// Digest tells contents apart without showing them.
	Digest string
	// Values are what ktrdr-exec reads, by reference.
	Values map[string]string
	// Files are bound into the container one by one, with their mode and owner.
	Files []api.File
}

// Write makes a folder hold content; one that holds it already is left alone. A process
// that dies meanwhile leaves a folder that does not count as complete.
func (s *Store) Write(folder string, content Content) error {
	at, err := s.path(folder)
	if err != nil {
		return err
	}
	if err := inMemory(s.cfg.Dir); err != nil {
		return err
	}
	if content.Digest != "" && readDigest(at) == content.Digest {
		return nil
	}
	for _, write := range []func() error{
		func() error { return removeDigest(at) },
		func() error { return writeValues(at, content.Values) },
		func() error { return writeFiles(at, content.Files) },
		func() error {
			return replace(at, api.File{Target: digestFile, Content: content.Digest, Mode: 0o400})
		},
	} {
		if err := write(); err != nil {
			return fmt.Errorf("write secret folder: %w", err)
		}
	}
	return nil
}

func readDigest(at string) string {
	data, err := os.ReadFile(filepath.Join(at, digestFile)) //nolint:gosec // below our own folder
	if err != nil {
		return ""
	}
	return string(data)
}

func removeDigest(at string) error {
	if err := os.Remove(filepath.Join(at, digestFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeValues makes a new set of values and puts the link to it in place of the old one.
func writeValues(at string, values map[string]string) error {
	dir := filepath.Join(at, valuesDir)
	if err := makeDir(at, dir); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(dir, "..")
	if err != nil {
		return err
	}
	if err := os.Chmod(fresh, folderMode); err != nil { //nolint:gosec // see folderMode
		return err
	}
	for ref, value := range values {
		if err := replace(fresh, api.File{Target: api.SecretFileName(ref), Content: value, Mode: valueMode}); err != nil {
			return err
		}
	}
	link := filepath.Join(dir, "..link")
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Base(fresh), link); err != nil {
		return err
	}
	if err := os.Rename(link, filepath.Join(dir, api.SecretsCurrent)); err != nil {
		return err
	}
	return removeOthers(dir, filepath.Base(fresh))
}

// removeOthers removes earlier sets of values.
func removeOthers(dir, current string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if name := entry.Name(); name != current && name != api.SecretsCurrent && strings.HasPrefix(name, "..") {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeFiles(at string, files []api.File) error {
	dir := filepath.Join(at, filesDir)
	if err := makeDir(at, dir); err != nil {
		return err
	}
	for i, f := range files {
		f.Target = strconv.Itoa(i)
		if err := replace(dir, f); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes a folder of a container and its part, whatever the umask.
func makeDir(at, part string) error {
	if err := os.MkdirAll(part, folderMode); err != nil { //nolint:gosec // see folderMode
		return err
	}
	return errors.Join(os.Chmod(at, folderMode), os.Chmod(part, folderMode)) //nolint:gosec // see folderMode
}

// replace writes a file under a temporary name and renames it. Mode comes before owner:
// who gives a file away may no longer change it.
func replace(dir string, f api.File) error {
	temp := filepath.Join(dir, ".new-"+f.Target)
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // below our own folder
	if err != nil {
		return err
	}
	_, err = out.WriteString(f.Content)
	err = errors.Join(err, chmod(out, f.Mode))
	if f.UID != 0 || f.GID != 0 {
		err = errors.Join(err, out.Chown(f.UID, f.GID))
	}
	err = errors.Join(err, out.Close())
	if err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(dir, f.Target))
}

// chmod sets the twelve bits of a mode; zero is Compose's default.
func chmod(f *os.File, bits uint32) error {
	if bits == 0 {
		bits = valueMode
	}
	mode := fs.FileMode(bits & 0o777)
	for bit, special := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			mode |= special
		}
	}
	return f.Chmod(mode)
}
