package state

import (
	"maps"
	"time"
)

// Pulls returns a copy: when the registry was asked last, by image reference.
func (s *Store) Pulls() map[string]time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.pulls)
}

// SetPulled remembers when the registry was asked for a reference.
func (s *Store) SetPulled(ref string, at time.Time) error {
	return set(s, entry{inPulls, ref}, s.pulls, at.UTC().Round(0))
}

// DropPulls forgets the references that keep refuses.
func (s *Store) DropPulls(keep func(ref string) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changes []change
	for ref := range s.pulls {
		if !keep(ref) {
			delete(s.pulls, ref)
			changes = append(changes, change{entry: entry{inPulls, ref}})
		}
	}
	return s.disk.write(changes)
}
