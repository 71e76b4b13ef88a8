package state

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

const (
	lockName    = "state.lock"
	nodeKeyName = "node.key"
	nodeKeySize = 32
	// maxFile bounds what is read into memory, in bytes.
	maxFile = 256 << 20
	// keptCorrupt is how many damaged files are kept for people to look at.
	keptCorrupt = 3

	defaultOpenTimeout = 2 * time.Second
	lockPoll           = 20 * time.Millisecond
)

// Open reads the state in cfg.Dir, or begins a new one. A damaged file is moved aside as
// state.db.corrupt-<time>; what of it is provably intact is taken over, and Healed tells.
// Errors: ErrLocked when another agent has it open, those of the file system, ErrDiskFull
// when there is no room for a first file.
func Open(cfg Config, log *slog.Logger) (*Store, error) {
	s, err := open(cfg, log)
	if err != nil {
		return nil, failed("open agent state in "+cfg.Dir, err)
	}
	return s, nil
}

func open(cfg Config, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(cfg.Dir, 0o700); err != nil { //nolint:gosec // a folder needs the x bit
		return nil, err
	}
	lock, err := lockDir(cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{disk: &disk{dir: cfg.Dir, lock: lock}, log: log}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// lockDir takes the lock of the folder. A lock of its own, not that of the bbolt file:
// the file is read, moved and replaced before bbolt sees it.
func lockDir(cfg Config) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(cfg.Dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	timeout := cfg.OpenTimeout
	if timeout <= 0 {
		timeout = defaultOpenTimeout
	}
	for end := time.Now().Add(timeout); ; time.Sleep(lockPoll) {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) //nolint:gosec // a descriptor fits
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(end) {
			return nil, errors.Join(fmt.Errorf("%w%s", ErrLocked, holder(lock)), lock.Close())
		}
	}
	// The number is for the message of the next one who waits; the lock does not need it.
	_ = lock.Truncate(0)
	_, _ = lock.WriteAt([]byte(fmt.Sprint(os.Getpid())), 0)
	return lock, nil
}

func holder(lock *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(lock, 0, 20))
	if err != nil || len(text) == 0 || strings.Trim(string(text), "0123456789") != "" {
		return ""
	}
	return fmt.Sprintf(" (process %s)", text)
}

func (s *Store) load() error {
	data, err := readFile(s.disk.path(), maxFile)
	fresh := errors.Is(err, os.ErrNotExist)
	if errors.Is(err, os.ErrPermission) {
		return err
	}
	s.disk.records = records{}
	if !fresh {
		found, damage := readRecords(data)
		s.disk.records = found
		if damage = errors.Join(err, damage); damage != nil {
			s.healed = fmt.Sprintf("the agent's state was damaged (%s); kept what is intact: %s.", oneLine(damage), found.summary())
		}
	}
	s.decode()
	if err := s.loadNodeKey(); err != nil && fresh {
		return err
	} else if err != nil {
		s.log.Warn("second copy of the node's key can't be read or written", "err", err)
	}
	if s.healed != "" {
		s.moveAside()
		s.log.Error("agent state was damaged", "err", s.healed)
	}
	err = s.disk.rebuild()
	if err != nil && !fresh {
		// The old state is in memory and still on disk: go on, the next write tries again.
		s.log.Error("agent state can't be written", "err", err)
		return nil
	}
	return err
}

func readFile(name string, limit int64) ([]byte, error) {
	file, err := os.Open(name) //nolint:gosec // a name in our own folder
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", filepath.Base(name), limit)
	}
	return data, err
}

// moveAside keeps a copy of the damaged file. A link and not a rename: until the new
// file is complete, the old one is all there is.
func (s *Store) moveAside() {
	aside := s.disk.path() + ".corrupt-" + time.Now().UTC().Format("20060102T150405.000000000")
	err := os.Link(s.disk.path(), aside)
	if err != nil {
		err = os.Rename(s.disk.path(), aside) // no links here, or not a file at all
	}
	if err != nil {
		s.log.Warn("damaged agent state can't be kept", "err", err)
	}
	old, err := filepath.Glob(s.disk.path() + ".corrupt-*")
	if err != nil || len(old) <= keptCorrupt {
		return
	}
	slices.Sort(old)
	for _, name := range old[:len(old)-keptCorrupt] {
		_ = os.Remove(name)
	}
}

// decode fills the typed maps. A record whose checksum is right but that this version
// can't read was written by another one: it is dropped and told.
func (s *Store) decode() {
	s.adoptions, s.jobs = map[string]Adoption{}, map[string]string{}
	s.holds, s.hooks, s.runs = map[string]api.Hold{}, map[string]bool{}, map[string]time.Time{}
	s.rollouts, s.pulls = map[string]*api.Rollout{}, map[string]time.Time{}
	s.kept, s.generations = map[string]api.Kept{}, map[string][]api.SecretGeneration{}
	unread := 0
	for name, r := range s.disk.records {
		at, ok := parseEntry(name)
		if !ok || s.decodeOne(at, r.content) != nil {
			delete(s.disk.records, name)
			unread++
		}
	}
	if unread > 0 && s.healed == "" {
		s.healed = fmt.Sprintf("the agent's state has %d entries that this version can't read; they were dropped.", unread)
	}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

var errUnknown = errors.New("unknown section")

func (s *Store) decodeOne(at entry, content []byte) error {
	switch at.section {
	case inAdoptions:
		return into(s.adoptions, at.key, content)
	case inJobs:
		return into(s.jobs, at.key, content)
	case inHolds:
		return into(s.holds, at.key, content)
	case inHooks:
		return into(s.hooks, at.key, content)
	case inRuns:
		return into(s.runs, at.key, content)
	case inPulls:
		return into(s.pulls, at.key, content)
	case inRollouts:
		r, err := decodeRollout(content)
		if err == nil {
			s.rollouts[at.key] = r
		}
		return err
	case inKept:
		return into(s.kept, at.key, content)
	case inGenerations:
		return into(s.generations, at.key, content)
	case inNode:
		switch at.key {
		case keyNode:
			return nil // loadNodeKey's
		case keyLastGood:
			s.lastGood = content
			return nil
		case keyReserved:
			return json.Unmarshal(content, &s.reserved)
		}
	}
	return errUnknown
}

func into[V any](memory map[string]V, key string, content []byte) error {
	var value V
	if err := json.Unmarshal(content, &value); err != nil {
		return err
	}
	memory[key] = value
	return nil
}

// loadNodeKey finds the key in the state or in its second copy, and makes one where
// there never was any.
func (s *Store) loadNodeKey() error {
	copied, failure := readFile(filepath.Join(s.disk.dir, nodeKeyName), 1<<10)
	if errors.Is(failure, os.ErrNotExist) {
		failure = nil
	}
	at := entry{inNode, keyNode}
	second := decodeNodeKey(copied)
	key := s.disk.records[at.name()].content
	if len(key) != nodeKeySize {
		key = second
	}
	if key == nil {
		key = make([]byte, nodeKeySize)
		_, _ = rand.Read(key) // never fails (crypto/rand)
		if len(s.disk.records) > 0 || s.healed != "" || len(copied) > 0 {
			s.healed = strings.TrimSpace(s.healed + " The node's key is lost: containers that use secrets will be recreated once, " +
				"and the generation of each secret counts one more, whether its value is another or not.")
		}
	}
	s.nodeKey = func() []byte { return key }
	s.disk.records[at.name()] = newRecord(at.name(), key)
	if bytes.Equal(second, key) {
		return nil
	}
	return errors.Join(failure, writeNodeKey(s.disk.dir, key))
}

// The second copy carries the same checksum as a record.
func decodeNodeKey(data []byte) []byte {
	if len(data) != len(checksum{})+nodeKeySize {
		return nil
	}
	key := data[len(checksum{}):]
	if sumOf(nodeKeyName, key) != checksum(data[:len(checksum{})]) {
		return nil
	}
	return key
}

func writeNodeKey(dir string, key []byte) error {
	fresh := filepath.Join(dir, nodeKeyName+".new")
	file, err := os.OpenFile(fresh, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // our own folder
	if err != nil {
		return err
	}
	_, err = file.Write(newRecord(nodeKeyName, key).stored())
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	if err := os.Rename(fresh, filepath.Join(dir, nodeKeyName)); err != nil {
		return err
	}
	return syncDir(dir)
}

func (r records) summary() string {
	count := map[string]int{}
	for name := range r {
		if at, ok := parseEntry(name); ok {
			count[at.section]++
		}
	}
	return fmt.Sprintf("%d adoptions, %d jobs, %d holds, %d pending hooks, %d seen runs, %d rollouts, %d pulls, %d kept secrets, %d generations of secrets, %d of the node's own entries",
		count[inAdoptions], count[inJobs], count[inHolds], count[inHooks], count[inRuns], count[inRollouts], count[inPulls], count[inKept], count[inGenerations], count[inNode])
}
