package state

import (
	"maps"

	"ktrdr.io/fleet/pkg/api"
)

// Kept returns a copy of what is remembered of kept secrets, by api.KeptKey: digests with
// the node's key, never values.
func (s *Store) Kept() map[string]api.Kept {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.kept)
}

// SetKept remembers a kept secret.
func (s *Store) SetKept(key string, kept api.Kept) error {
	return set(s, entry{inKept, key}, s.kept, kept)
}

// DropKept forgets the kept secrets whose key keep refuses.
func (s *Store) DropKept(keep func(key string) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changes []change
	for key := range s.kept {
		if !keep(key) {
			delete(s.kept, key)
			changes = append(changes, change{entry: entry{inKept, key}})
		}
	}
	return s.disk.write(changes)
}
