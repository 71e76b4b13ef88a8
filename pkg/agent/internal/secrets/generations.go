package secrets

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// maxGenerations bounds of how many values of a reference the generation is remembered.
const maxGenerations = 16

// Recall tells the store what Generations gave before the agent restarted, so that counting
// goes on. With another key no digest is known again: each value then counts as a new one.
// It comes before the first Refresh.
func (s *Store) Recall(past map[string][]api.SecretGeneration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past = maps.Clone(past)
}

// Generations are what the next agent has to know of refs: of each its newest value, and
// those that are needed (Needed), oldest first. Nothing of a reference that was never
// resolved since the store was made.
func (s *Store) Generations(refs []string) map[string][]api.SecretGeneration {
	s.mu.RLock()
	needed := s.needed
	out := map[string][]api.SecretGeneration{}
	for _, ref := range refs {
		if e := s.entries[ref]; e != nil && !e.resolvedAt.IsZero() {
			out[ref] = slices.SortedFunc(maps.Values(e.generations), func(a, b api.SecretGeneration) int {
				return cmp.Compare(a.Number, b.Number)
			})
		}
	}
	s.mu.RUnlock()
	for ref, list := range out {
		last := list[len(list)-1].Number
		// Digests of weak values can be guessed by who has the node's key: no more of them on
		// a disk than have a use.
		out[ref] = slices.DeleteFunc(list, func(g api.SecretGeneration) bool {
			return g.Number != last && !needed(ref, g.Digest)
		})
	}
	return out
}

// entryOf returns the entry of ref, and makes one that knows the past. s.mu is held.
func (s *Store) entryOf(ref string) *entry {
	e := s.entries[ref]
	if e == nil {
		e = &entry{generations: map[string]api.SecretGeneration{}}
		for _, g := range s.past[ref] {
			e.generations[g.Digest] = g
			e.generation = max(e.generation, g.Number)
		}
		delete(s.past, ref)
		s.entries[ref] = e
	}
	return e
}

// count notes that the present value, with e.digest, was resolved now. The newest value that
// is known, of this agent or one before it, is no other generation.
func (e *entry) count(now time.Time) {
	if known := e.generations[e.digest]; known.Number != 0 && known.Number == e.generation {
		e.changedAt = known.Since
		return
	}
	e.generation++
	e.changedAt = now
	e.generations[e.digest] = api.SecretGeneration{Number: e.generation, Digest: e.digest, Since: now.UTC().Round(0)}
	for len(e.generations) > maxGenerations {
		oldest := e.digest
		for digest, g := range e.generations {
			if g.Number < e.generations[oldest].Number {
				oldest = digest
			}
		}
		delete(e.generations, oldest)
	}
}

// Generation says which of the values that the node has seen of ref has the digest, from 1,
// and since when it was the present one; 0 for none of them.
func (s *Store) Generation(ref, digest string) (number uint64, since time.Time) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if digest == "" {
		return 0, time.Time{}
	}
	if e := s.entries[ref]; e != nil {
		g := e.generations[digest]
		return g.Number, g.Since
	}
	for _, g := range s.past[ref] {
		if g.Digest == digest {
			return g.Number, g.Since
		}
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
