package secrets

import "time"

// maxGenerations bounds of how many values of a reference the generation is remembered.
const maxGenerations = 16

// generation says which of the distinct values of a reference one is, and when it was first
// resolved as the present one.
type generation struct {
	number uint64
	since  time.Time
}

// noteGeneration remembers the generation of the present value.
func (e *entry) noteGeneration() {
	if e.generations == nil {
		e.generations = map[string]generation{}
	}
	e.generations[e.digest] = generation{e.generation, e.changedAt}
	for len(e.generations) > maxGenerations {
		oldest := e.digest
		for digest, g := range e.generations {
			if g.number < e.generations[oldest].number {
				oldest = digest
			}
		}
		delete(e.generations, oldest)
	}
}

// Generation says which of the values that ref had since the store was made has the digest,
// from 1, and since when it was the present one; 0 for none of them.
func (s *Store) Generation(ref, digest string) (number uint64, since time.Time) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.entries[ref]; e != nil && digest != "" {
		g := e.generations[digest]
		return g.number, g.since
	}
	return 0, time.Time{}
}

// StateOf tells about one reference; Missing when it was never asked for.
func (s *Store) StateOf(ref string) State {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.entries[ref]; e != nil {
		return e.state(ref)
	}
	return State{Ref: ref, Phase: Missing}
}
