package deliver

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// Config says where things are; all fields are required.
type Config struct {
	// Dir holds the folders: a tmpfs that the engine sees at the same path.
	Dir string
	// Exec is the program ktrdr-exec, and Copies the folder for copies of it, which the
	// engine sees at the same path.
	Exec, Copies string
}

// Store keeps the folders. Its methods are safe for concurrent use; calls about one folder
// come one after another.
type Store struct {
	cfg Config
	log *slog.Logger

	mu sync.Mutex
	// making are folders whose container is being created.
	making map[string]bool
	// exec is the copy of ktrdr-exec; empty until Check found one.
	exec   string
	warned bool
}

// New returns a store that touches nothing before its first use.
func New(cfg Config, log *slog.Logger) *Store {
	return &Store{cfg: cfg, log: log, making: map[string]bool{}}
}

// Check makes ready what deliveries need, and says what is missing and how to mend it. It
// may be called again at any time, and is cheap when all is well.
func (s *Store) Check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkDir(); err != nil {
		return err
	}
	if s.exec != "" {
		if _, err := os.Stat(s.exec); err == nil {
			return nil
		}
	}
	copied, err := copyExec(s.cfg.Exec, s.cfg.Copies)
	if err != nil {
		return err
	}
	s.exec = copied
	return nil
}

// checkDir makes sure that the folders are in memory. s.mu is held.
func (s *Store) checkDir() error {
	if err := makeRoot(s.cfg.Dir); err != nil {
		return err
	}
	if err := inMemory(s.cfg.Dir); err != nil {
		if err := Mount(s.cfg.Dir); err != nil {
			return err
		}
	}
	if err := os.Chmod(s.cfg.Dir, dirMode); err != nil {
		return fmt.Errorf("secrets folder: %w", err)
	}
	if !s.warned && !hasNoswap(s.cfg.Dir) {
		s.warned = true
		s.log.Warn("the secrets folder may be swapped to disk: mount it by `ktrdr-agent prepare` on a kernel from 6.4 on, or turn swap off", "path", s.cfg.Dir)
	}
	return nil
}

// makeRoot makes the folder of the folders. What is above it is for others to pass through.
func makeRoot(dir string) error {
	err := os.MkdirAll(filepath.Dir(dir), folderMode) //nolint:gosec // holds no secrets by itself
	if err == nil {
		err = os.MkdirAll(dir, dirMode)
	}
	if err != nil {
		return fmt.Errorf("make secrets folder: %w", err)
	}
	return nil
}

// Paths are the host paths that a container binds.
type Paths struct {
	// Exec is the copy of ktrdr-exec, Values the folder that it reads.
	Exec, Values string
	// Files are the files of Content, in its order.
	Files []string
}

// Paths returns the paths in a folder with a number of files, whether they exist or not.
func (s *Store) Paths(folder string, files int) (Paths, error) {
	at, err := s.path(folder)
	if err != nil {
		return Paths{}, err
	}
	s.mu.Lock()
	p := Paths{Exec: s.exec, Values: filepath.Join(at, valuesDir)}
	s.mu.Unlock()
	for i := range files {
		p.Files = append(p.Files, filepath.Join(at, filesDir, fmt.Sprint(i)))
	}
	if p.Exec == "" {
		return p, s.Check()
	}
	return p, nil
}

// folderName is what a container's name and our suffix allow.
var folderName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*\.[0-9a-f]{16}$`)

// New names a folder for a container that is about to be created; nothing is written yet.
// Until done is called, Prune leaves it alone. No two containers share a folder: the one
// that is replaced keeps its values to its end.
func (s *Store) New(container string) (folder string, done func()) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	folder = container + "." + hex.EncodeToString(random[:])
	s.mu.Lock()
	s.making[folder] = true
	s.mu.Unlock()
	return folder, func() {
		s.mu.Lock()
		delete(s.making, folder)
		s.mu.Unlock()
	}
}

// path is the folder's place. Its name may come from a label, so it is checked.
func (s *Store) path(folder string) (string, error) {
	if !folderName.MatchString(folder) || len(folder) > 255 {
		return "", fmt.Errorf("secret folder %q: not a name that this agent gives", folder)
	}
	return filepath.Join(s.cfg.Dir, folder), nil
}

// Held returns the digest of the content that a folder holds completely; empty when it
// does not exist or was not written to the end.
func (s *Store) Held(folder string) string {
	at, err := s.path(folder)
	if err != nil {
		return ""
	}
	return readDigest(at)
}

// Folders returns Held of all folders.
func (s *Store) Folders() map[string]string {
	held := map[string]string{}
	for _, folder := range s.list() {
		if digest := s.Held(folder); digest != "" {
			held[folder] = digest
		}
	}
	return held
}

// Values returns all that the folders hold. An agent that has just started knows no value,
// but containers that it finds may print theirs.
func (s *Store) Values() []string {
	var texts []string
	for _, folder := range s.list() {
		texts = append(texts, s.Texts(folder)...)
	}
	return texts
}

// list names what is in the memory; nothing when it is not memory.
func (s *Store) list() []string {
	if inMemory(s.cfg.Dir) != nil {
		return nil
	}
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, entry := range entries {
		if folderName.MatchString(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names
}

// Remove deletes a folder; one that is gone is fine. Call it only when the container that
// binds it is gone.
func (s *Store) Remove(folder string) error {
	at, err := s.path(folder)
	if err != nil {
		return err
	}
	if err := removeDigest(at); err != nil { // what is half removed is not taken for complete
		return fmt.Errorf("remove secret folder: %w", err)
	}
	if err := os.RemoveAll(at); err != nil {
		return fmt.Errorf("remove secret folder: %w", err)
	}
	return nil
}

// Prune removes folders and copies of ktrdr-exec that no container binds, and returns the
// folders. bound tells all host paths that existing containers bind; it is asked after
// the folders were listed, so that a folder whose container came meanwhile is found.
func (s *Store) Prune(bound func() []string) ([]string, error) {
	folders := s.list()
	s.mu.Lock()
	current := s.exec
	for folder := range s.making {
		folders = deleteFrom(folders, folder)
	}
	s.mu.Unlock()
	copies := listCopies(s.cfg.Copies)
	paths := bound()
	var removed []string
	for _, folder := range folders {
		if binds(paths, filepath.Join(s.cfg.Dir, folder)) {
			continue
		}
		if err := s.Remove(folder); err != nil {
			return removed, err
		}
		removed = append(removed, folder)
	}
	for _, dir := range copies {
		if binds(paths, dir) || strings.HasPrefix(current, dir+"/") {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return removed, fmt.Errorf("remove old copy of ktrdr-exec: %w", err)
		}
	}
	return removed, nil
}

func deleteFrom(list []string, name string) []string {
	kept := list[:0]
	for _, s := range list {
		if s != name {
			kept = append(kept, s)
		}
	}
	return kept
}

// binds tells whether one of the paths is below dir.
func binds(paths []string, dir string) bool {
	for _, p := range paths {
		if strings.HasPrefix(p+"/", dir+"/") {
			return true
		}
	}
	return false
}
