package state

import (
	"encoding/json"
	"slices"

	"ktrdr.io/fleet/pkg/api"
)

// Generations returns a copy of which values the references had, by reference: digests with
// the node's key, never values.
func (s *Store) Generations() map[string][]api.SecretGeneration {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make(map[string][]api.SecretGeneration, len(s.generations))
	for ref, list := range s.generations {
		out[ref] = slices.Clone(list)
	}
	return out
}

// SetGenerations remembers those of some references, oldest first, in one write; none when
// nothing has changed. Of two that come out of turn the newer one stays.
func (s *Store) SetGenerations(generations map[string][]api.SecretGeneration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changes []change
	for ref, list := range generations {
		if known := s.generations[ref]; len(list) == 0 || newest(list) < newest(known) || slices.EqualFunc(list, known, sameGeneration) {
			continue
		}
		data, err := json.Marshal(list)
		if err != nil {
			return failed("write agent state", err)
		}
		s.generations[ref] = slices.Clone(list)
		changes = append(changes, change{entry{inGenerations, ref}, data})
	}
	if len(changes) == 0 {
		return nil
	}
	return s.disk.write(changes)
}

// DropGenerations forgets the references that keep refuses.
func (s *Store) DropGenerations(keep func(ref string, newest api.SecretGeneration) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changes []change
	for ref, list := range s.generations {
		if len(list) == 0 || !keep(ref, list[len(list)-1]) {
			delete(s.generations, ref)
			changes = append(changes, change{entry: entry{inGenerations, ref}})
		}
	}
	return s.disk.write(changes)
}

func sameGeneration(a, b api.SecretGeneration) bool {
	return a.Number == b.Number && a.Digest == b.Digest && a.Since.Equal(b.Since)
}

func newest(list []api.SecretGeneration) uint64 {
	if len(list) == 0 {
		return 0
	}
	return list[len(list)-1].Number
}
