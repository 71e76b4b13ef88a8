package state

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Config of a Store.
type Config struct {
	// Dir is made with mode 0700 when absent; an existing one is set to 0700.
	Dir string
	// OpenTimeout is how long Open waits for another agent to end. 0 means 2 s.
	OpenTimeout time.Duration
}

// Adoption remembers that a container of docker compose's making was taken over.
type Adoption struct {
	// SpecHash and SecretDigest take the place of the labels that can't be written.
	SpecHash     string    `json:"specHash"`
	SecretDigest string    `json:"secretDigest,omitzero"`
	At           time.Time `json:"at"`
}

// Store is the agent's memory. Reads are answered from memory; writes are on disk when
// they return. A write that fails changes the memory all the same, so that the agent
// goes on, and the next write tries to bring the disk up to date. All methods are safe
// for concurrent use.
type Store struct {
	mu        sync.RWMutex
	adoptions map[string]Adoption
	jobs      map[string]string
	holds     map[string]api.Hold
	hooks     map[string]bool
	runs      map[string]time.Time
	rollouts  map[string]*api.Rollout
	pulls     map[string]time.Time
	kept      map[string]api.Kept
	// generations are by reference, oldest first.
	generations map[string][]api.SecretGeneration
	// nodeKey sits behind a func so that printing a Store by accident does not show it.
	nodeKey  func() []byte
	lastGood []byte
	// reserved is the highest number of an event that may have been given.
	reserved uint64

	disk   *disk
	healed string
	log    *slog.Logger
}

// Sections of the file.
const (
	inAdoptions   = "adoptions"
	inJobs        = "jobs"
	inHolds       = "holds"
	inHooks       = "hooks"
	inRuns        = "runs"
	inRollouts    = "rollouts"
	inPulls       = "pulls"
	inKept        = "kept"
	inGenerations = "generations"
	inNode        = "node"

	keyNode     = "key"
	keyLastGood = "last-good"
	keyReserved = "reserved-events"
)

// Healed is a sentence about damage that Open met and mended; empty when there was none.
func (s *Store) Healed() string { return s.healed }

// Close gives the folder free for another agent.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disk.close()
}

// Adoptions returns a copy, by container id.
func (s *Store) Adoptions() map[string]Adoption {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.adoptions)
}

// SetAdoption remembers the adoption of the container with that id.
func (s *Store) SetAdoption(id string, adoption Adoption) error {
	adoption.At = adoption.At.UTC().Round(0)
	return set(s, entry{inAdoptions, id}, s.adoptions, adoption)
}

// DropAdoptions forgets the adoptions whose container id keep refuses.
func (s *Store) DropAdoptions(keep func(id string) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changes []change
	for id := range s.adoptions {
		if !keep(id) {
			delete(s.adoptions, id)
			changes = append(changes, change{entry: entry{inAdoptions, id}})
		}
	}
	return s.disk.write(changes)
}

// Jobs returns a copy of the jobs that ended with exit code 0: spec hash by api.JobKey.
func (s *Store) Jobs() map[string]string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.jobs)
}

// SetJob remembers that the job ended with exit code 0 for the spec of that hash.
func (s *Store) SetJob(key, hash string) error {
	return set(s, entry{inJobs, key}, s.jobs, hash)
}

// DropJobs forgets the jobs whose key keep refuses.
func (s *Store) DropJobs(keep func(key string) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changes []change
	for key := range s.jobs {
		if !keep(key) {
			delete(s.jobs, key)
			changes = append(changes, change{entry: entry{inJobs, key}})
		}
	}
	return s.disk.write(changes)
}

// Holds returns a copy, by stack. Holds that have run out are still in it.
func (s *Store) Holds() map[string]api.Hold {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.holds)
}

// SetHold sets the hold of a stack; nil removes it.
func (s *Store) SetHold(stack string, hold *api.Hold) error {
	if hold == nil {
		return unset(s, entry{inHolds, stack}, s.holds)
	}
	kept := *hold
	kept.Until, kept.Since = kept.Until.UTC().Round(0), kept.Since.UTC().Round(0)
	return set(s, entry{inHolds, stack}, s.holds, kept)
}

// HooksPending returns a copy, by container id; all values are true.
func (s *Store) HooksPending() map[string]bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.hooks)
}

// MarkHooksPending remembers that post_start hooks of the container have to run.
func (s *Store) MarkHooksPending(id string) error {
	return set(s, entry{inHooks, id}, s.hooks, true)
}

// ClearHooksPending forgets it.
func (s *Store) ClearHooksPending(id string) error {
	return unset(s, entry{inHooks, id}, s.hooks)
}

// Runs returns a copy of the runs that were seen last: start of the run by container id.
func (s *Store) Runs() map[string]time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.runs)
}

// SetRuns replaces them, in one write; none when nothing has changed.
func (s *Store) SetRuns(runs map[string]time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changes []change
	for id := range s.runs {
		if _, still := runs[id]; !still {
			delete(s.runs, id)
			changes = append(changes, change{entry: entry{inRuns, id}})
		}
	}
	for id, started := range runs {
		if s.runs[id].Equal(started) {
			continue
		}
		data, err := json.Marshal(started)
		if err != nil {
			return failed("write agent state", err)
		}
		s.runs[id] = started
		changes = append(changes, change{entry{inRuns, id}, data})
	}
	if len(changes) == 0 {
		return nil
	}
	return s.disk.write(changes)
}

// NodeKey returns a copy of the node's own key of secret digests: 32 random bytes, made by
// the first Open; the error is always nil. It survives damage to the state (a second copy lies beside it): with
// another key every container that uses a secret would have to be recreated.
func (s *Store) NodeKey() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.nodeKey()), nil
}

// LastGood returns the last good desired state; ErrNone when there is none, ErrDamaged
// when it can't be trusted.
func (s *Store) LastGood() (*api.Desired, error) {
	s.mu.RLock()
	kept := s.lastGood
	s.mu.RUnlock()
	if kept == nil {
		return nil, fmt.Errorf("read the last good desired state: %w", ErrNone)
	}
	desired, err := decodeDesired(kept)
	if err != nil {
		return nil, failed("read the last good desired state", err)
	}
	return desired, nil
}

// SetLastGood keeps a desired state. One that could not be read back exactly is refused.
func (s *Store) SetLastGood(desired *api.Desired) error {
	kept, err := encodeDesired(desired)
	if err != nil {
		return &Error{Op: "keep the desired state", Class: api.Terminal, Reason: api.ReasonStateCorrupt, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastGood = kept
	return s.disk.write([]change{{entry{inNode, keyLastGood}, kept}})
}

// set changes memory first: an agent with a full disk must not forget what it did.
func set[V any](s *Store, at entry, memory map[string]V, value V) error {
	data, err := json.Marshal(value)
	if err != nil {
		return failed("write agent state", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	memory[at.key] = value
	return s.disk.write([]change{{at, data}})
}

func unset[V any](s *Store, at entry, memory map[string]V) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, found := memory[at.key]; !found {
		return nil
	}
	delete(memory, at.key)
	return s.disk.write([]change{{entry: at}})
}
