package secrets

import (
	"maps"
	"time"
)

// Needed names the judge of which replaced values stay in memory beside the last one: those
// that something on the node still has. It must not call the store.
func (s *Store) Needed(judge func(ref, digest string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.needed = judge
}

// OpenAs returns the value of ref that has the digest, the present one or an earlier one;
// false when it is not at hand.
func (s *Store) OpenAs(ref, digest string) (Value, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.entries[ref]
	switch {
	case e == nil || digest == "":
		return Value{}, false
	case e.digest == digest:
		return e.value, true
	}
	value, found := e.earlier[digest]
	return value, found
}

// Earlier are the digests of earlier values at hand.
func (s *Store) Earlier() map[string]bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	digests := map[string]bool{}
	for _, e := range s.entries {
		for digest := range e.earlier {
			digests[digest] = true
		}
	}
	return digests
}

// DigestOf is the digest that a text has as the value of ref.
func (s *Store) DigestOf(ref, text string) string { return s.digest(ref, NewValue(text)) }

// Restore takes a text back that was the value of ref: it was found where it had been
// delivered. It counts as earlier until the provider says so too.
func (s *Store) Restore(ref, text string) {
	value := NewValue(text)
	digest := s.digest(ref, value)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entryOf(ref)
	if e.digest != digest {
		e.keep(digest, value)
		s.redactor = newRedactor(s.entries, s.earlier)
	}
}

func (e *entry) keep(digest string, value Value) {
	if e.earlier == nil {
		e.earlier = map[string]Value{}
	}
	e.earlier[digest] = value
}

// renew makes an answer the present value. s.mu is held.
func (s *Store) renew(ref string, e *entry, result Result, now time.Time) {
	replaced := ""
	if !e.resolvedAt.IsZero() && !e.value.Equal(result.Value) {
		replaced, e.previous = e.digest, e.value
		e.keep(replaced, e.value)
	}
	e.value, e.version, e.resolvedAt, e.err = result.Value, result.Version, now, nil
	e.digest = s.digest(ref, result.Value)
	e.count(now)
	maps.DeleteFunc(e.earlier, func(digest string, _ Value) bool {
		return digest == e.digest || digest != replaced && !s.needed(ref, digest)
	})
}
