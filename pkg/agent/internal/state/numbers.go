package state

import (
	"encoding/json"
)

// Reserve returns the first of count numbers that were never reserved before, at least from.
// After an error they are reserved in memory only.
func (s *Store) Reserve(from, count uint64) (first uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = max(from, s.reserved+1)
	s.reserved = first - 1 + count
	data, err := json.Marshal(s.reserved)
	if err != nil {
		return first, failed("write agent state", err)
	}
	return first, s.disk.write([]change{{entry{inNode, keyReserved}, data}})
}
