package secrets_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// TestGeneration: only another value is another generation, not a look, a failure or
// another version.
func TestGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ref = "op://v/i/f"
		p := &provider{}
		s := secrets.New(p, make([]byte, 32))
		first := time.Now()
		look := func(value string, generation uint64, changed time.Time) {
			t.Helper()
			p.values = map[string]string{}
			if value != "" {
				p.values[ref] = value
			}
			_ = s.Refresh(t.Context(), []string{ref}) // not found is told by States
			got := s.States()[0]
			if got.Generation != generation || !got.ChangedAt.Equal(changed) {
				t.Errorf("generation %d, changed at %s", got.Generation, got.ChangedAt)
			}
			time.Sleep(time.Minute) // the bubble's clock
		}
		look("", 0, time.Time{})
		look("one", 1, first.Add(time.Minute))
		look("one", 1, first.Add(time.Minute))
		look("", 1, first.Add(time.Minute))
		look("one", 1, first.Add(time.Minute))
		look("two", 2, first.Add(5*time.Minute))
		look("one", 3, first.Add(6*time.Minute))
	})
}

// TestGenerationsGoOn: a store that is told what the one before it had counts on, also from a
// value that changed in between; with another key each value is a new one.
func TestGenerationsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const a, b, c = "op://v/i/a", "op://v/i/b", "op://v/i/c"
		refs := []string{a, b, c}
		p := &provider{values: map[string]string{a: "one", b: "one"}}
		key, other := make([]byte, 32), []byte("another key of another node or s")
		var past map[string][]api.SecretGeneration
		start := func(key []byte) *secrets.Store {
			s := secrets.New(p, key)
			s.Recall(past)
			return s
		}
		look := func(s *secrets.Store) {
			_ = s.Refresh(t.Context(), refs) // not found is told by States
			past = s.Generations(refs)
			time.Sleep(time.Minute) // the bubble's clock
		}
		want := func(what string, s *secrets.Store, want ...uint64) {
			t.Helper()
			for i, ref := range refs {
				if got := s.StateOf(ref); got.Generation != want[i] {
					t.Errorf("%s: %s has generation %d, want %d", what, ref, got.Generation, want[i])
				}
			}
		}
		s := start(key)
		first := time.Now()
		look(s)
		p.values[b] = "two"
		look(s)
		want("the first agent", s, 1, 2, 0)
		two := s.Digests()[b]

		s = start(key)
		want("before the first look", s, 0, 0, 0)
		if number, since := s.Generation(b, two); number != 2 || !since.Equal(first.Add(time.Minute)) {
			t.Errorf("what containers still have is generation %d since %s", number, since)
		}
		look(s)
		want("the same values", s, 1, 2, 0)
		if got := s.StateOf(a).ChangedAt; !got.Equal(first) {
			t.Errorf("read first at %s, not %s", got, first)
		}
		if len(past[b]) != 1 {
			t.Errorf("values that nobody needs are remembered: %+v", past[b])
		}

		p.values[a], p.values[c] = "other", "new"
		s = start(key)
		look(s)
		want("changed in between", s, 2, 2, 1)
		p.values[b] = ""
		s = start(key)
		look(s)
		want("one is away", s, 2, 0, 1)
		past[b] = []api.SecretGeneration{{Number: 2, Digest: two}}
		p.values[b] = "one"
		s = start(key)
		s.Needed(func(_, digest string) bool { return digest == two })
		look(s)
		want("an earlier value comes back", s, 2, 3, 1)
		if len(past[b]) != 2 || past[b][0].Digest != two {
			t.Errorf("the value that a container keeps is forgotten: %+v", past[b])
		}

		s = start(other)
		look(s)
		want("another key", s, 3, 4, 2)
		look(s)
		want("another key, again", s, 3, 4, 2)
	})
}
