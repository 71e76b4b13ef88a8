package secrets

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Phase is the state of one reference.
type Phase string

// Phases of a reference.
const (
	// Fresh was resolved by the last refresh that asked for it.
	Fresh Phase = "ok"
	// Stale has a value from before; the last refresh failed.
	Stale Phase = "stale"
	// Missing was never resolved since the agent started.
	Missing Phase = "missing"
)

// State tells about one reference, never its value.
type State struct {
	Ref   string
	Phase Phase
	// Version is the provider's, opaque; empty when missing.
	Version string
	// ResolvedAt is when the value was last confirmed; zero when missing.
	ResolvedAt time.Time
	// Generation counts the distinct values that the node has seen, from 1; 0 when missing.
	Generation uint64
	// ChangedAt is when the present value was first resolved, maybe by an agent before this
	// one; zero when missing.
	ChangedAt time.Time
	// Age is the time since ResolvedAt, 0 when missing.
	Age time.Duration
	// Reason and Message say why the phase is not Fresh.
	Reason  api.Reason
	Message string
}

// Store keeps the last good value of every reference in memory, and nowhere else. All
// methods are safe for concurrent use; only Refresh waits for anything.
type Store struct {
	provider Provider
	// key sits behind a func for the same reason as the text of a Value.
	key func() []byte

	mu       sync.RWMutex
	entries  map[string]*entry
	needed   func(ref, digest string) bool
	flight   *flight
	redactor *redactor
	earlier  []Value
	// past are generations from before the agent started, of references without an entry.
	past map[string][]api.SecretGeneration
}

type entry struct {
	value      Value
	version    string
	resolvedAt time.Time
	generation uint64
	changedAt  time.Time
	digest     string
	err        error
	// previous is what the value was before: it may still turn up in logs.
	previous Value
	// earlier are values that were replaced or restored and are needed, and the last one
	// that was replaced, by digest.
	earlier map[string]Value
	// generations of values by digest.
	generations map[string]api.SecretGeneration
}

// New makes an empty store. key is the node's own key of the digests, 32 bytes.
func New(provider Provider, key []byte) *Store {
	key = slices.Clone(key)
	return &Store{
		provider: provider,
		key:      func() []byte { return key },
		entries:  map[string]*entry{},
		redactor: &redactor{},
		needed:   func(string, string) bool { return false },
	}
}

// Open returns the last good value of ref; false when there is none.
func (s *Store) Open(ref string) (Value, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.entries[ref]
	if e == nil || e.resolvedAt.IsZero() {
		return Value{}, false
	}
	return e.value, true
}

// Digests returns "v1:<hex>" of every reference that has a value, by reference: an HMAC
// over reference and value with the node's key. Without the key, not even a weak value
// can be guessed from one.
func (s *Store) Digests() map[string]string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	digests := make(map[string]string, len(s.entries))
	for ref, e := range s.entries {
		if e.digest != "" {
			digests[ref] = e.digest
		}
	}
	return digests
}

// States tells about every reference that was ever asked for, sorted by reference.
func (s *Store) States() []State {
	s.mu.RLock()
	defer s.mu.RUnlock()
	states := make([]State, 0, len(s.entries))
	for _, ref := range slices.Sorted(maps.Keys(s.entries)) {
		states = append(states, s.entries[ref].state(ref))
	}
	return states
}

// Providers tells how the providers behind the store are doing; nil when it can't.
func (s *Store) Providers() []ProviderState {
	if r, ok := s.provider.(interface{ States() []ProviderState }); ok {
		return r.States()
	}
	return nil
}

// Retain forgets the references that keep refuses, values included.
func (s *Store) Retain(keep func(ref string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.entries, func(ref string, _ *entry) bool { return !keep(ref) })
	s.redactor = newRedactor(s.entries, s.earlier)
}

// Remember makes Redact know texts that are secret although nothing resolved them since the
// start: what an agent before this one has delivered.
func (s *Store) Remember(texts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range texts {
		s.earlier = append(s.earlier, NewValue(text))
	}
	s.redactor = newRedactor(s.entries, s.earlier)
}

// Redact replaces every known value of at least 6 bytes in text by Redacted: as it is,
// hexadecimal, base64 (also as part of a longer text), quoted, and escaped for URLs and
// JSON; of values of several lines also each line of at least 16 bytes. Shorter values are
// replaced where they are numbers of 4 or 5 digits, and then where they are no part of a
// word. Values that were replaced since the agent started count too.
func (s *Store) Redact(text string) string {
	s.mu.RLock()
	r := s.redactor
	s.mu.RUnlock()
	return r.redact(text)
}

func (e *entry) state(ref string) State {
	state := State{Ref: ref, Phase: Fresh, Version: e.version, ResolvedAt: e.resolvedAt, ChangedAt: e.changedAt}
	if e.resolvedAt.IsZero() {
		state.Phase, state.Reason = Missing, api.ReasonSecretMissing
	} else {
		state.Age, state.Generation = time.Since(e.resolvedAt), e.generation
	}
	if e.err == nil {
		return state
	}
	state.Message = e.err.Error()
	if state.Phase == Fresh {
		state.Phase, state.Reason = Stale, api.ReasonSecretsStale
	}
	var failed *Error
	if state.Phase == Missing && errors.As(e.err, &failed) && failed.Reason != "" {
		state.Reason = failed.Reason
	}
	return state
}

// digest covers lengths so that no two pairs give the same bytes.
func (s *Store) digest(ref string, value Value) string {
	mac := hmac.New(sha256.New, s.key())
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(ref))))
	mac.Write([]byte(ref))
	mac.Write([]byte(value.peek()))
	return "v1:" + hex.EncodeToString(mac.Sum(nil))
}

// resolve asks the provider once and takes the answers over.
func (s *Store) resolve(ctx context.Context, refs []string) error {
	results, err := s.provider.Resolve(ctx, refs)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var failures []error
	said := map[string]bool{}
	for _, ref := range refs {
		failed := s.take(ref, results, err, now)
		// A provider that is down is said once, not for each of its references.
		if failed != nil && err == nil && !said[failed.Error()] {
			said[failed.Error()] = true
			failures = append(failures, failed)
		}
	}
	s.redactor = newRedactor(s.entries, s.earlier)
	if err != nil {
		return fmt.Errorf("provider %s: %w", s.provider.Name(), err)
	}
	return errors.Join(failures...)
}

// take stores the answer to one reference; an error leaves the value as it was.
func (s *Store) take(ref string, results map[string]Result, err error, now time.Time) error {
	e := s.entryOf(ref)
	result, answered := results[ref]
	switch {
	case answered && result.Err != nil:
		e.err = result.Err
	case answered && result.Value.IsEmpty():
		e.err = missing(ref, ErrEmpty)
	case answered:
		s.renew(ref, e, result, now)
	case err != nil:
		e.err = err
	default:
		e.err = missing(ref, ErrNotFound)
	}
	return e.err
}
