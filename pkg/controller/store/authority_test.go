package store_test

import (
	"errors"
	"sync"
	"testing"

	"ktrdr.io/fleet/pkg/controller/store"
)

func fleetAuthority(signing string, others ...string) store.Authority {
	return store.Authority{Signing: signing, Trusted: append([]string{signing}, others...), By: "c-" + signing}
}

// TestAuthority goes through the start of a fleet and the replacement of its authority, on two
// controllers that are restarted one after the other.
func TestAuthority(t *testing.T) {
	t.Parallel()
	s := open(t)
	if _, err := s.Authority(t.Context()); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("before the first: %v", err)
	}
	for _, step := range []struct {
		what   string
		own    store.Authority
		agreed bool
	}{
		{"the first controller", fleetAuthority("old"), true},
		{"the first one again", fleetAuthority("old"), true},
		{"a second one with an authority of its own", fleetAuthority("other"), false},
		{"one that trusts the fleet's, which nobody trusts", fleetAuthority("other", "old"), false},
		{"one that is trusted by nobody yet", fleetAuthority("new"), false},
		{"the new one is trusted here", fleetAuthority("old", "new"), true},
		{"and not yet there", fleetAuthority("old"), true},
		{"which must not sign yet", fleetAuthority("new", "old"), false},
		{"now there, too", fleetAuthority("old", "new"), true},
		{"the new one signs here", fleetAuthority("new", "old"), true},
		{"the old one still signs there", fleetAuthority("old", "new"), true},
		{"both sign with the new one", fleetAuthority("new", "old"), true},
		{"the old one is removed", fleetAuthority("new"), true},
		{"and comes back with a restored disk", fleetAuthority("old"), false},
		{"not with both, either", fleetAuthority("old", "new"), false},
	} {
		before, _ := s.Authority(t.Context())
		err := s.AgreeOnAuthority(t.Context(), step.own)
		if agreed := err == nil; agreed != step.agreed || !agreed && !errors.Is(err, store.ErrOtherAuthority) {
			t.Fatalf("%s: %v", step.what, err)
		}
		after, err := s.Authority(t.Context())
		if want := step.own.Signing; err != nil || step.agreed && after.Signing != want || !step.agreed && after.Signing != before.Signing {
			t.Fatalf("%s: %v is recorded: %v", step.what, after, err)
		}
	}
	if err := s.ReplaceAuthority(t.Context(), fleetAuthority("third")); err != nil {
		t.Fatal(err)
	}
	if err := s.AgreeOnAuthority(t.Context(), fleetAuthority("third")); err != nil {
		t.Errorf("after it was replaced by force: %v", err)
	}
	if err := s.ReplaceAuthority(t.Context(), store.Authority{Signing: "a", Trusted: []string{"b"}}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("an authority that does not trust itself: %v", err)
	}
}

// TestAuthorityRace: of many first controllers with authorities of their own, one makes a fleet.
func TestAuthorityRace(t *testing.T) {
	t.Parallel()
	prefix := prefix()
	var all sync.WaitGroup
	results := make(chan error, 8)
	for i := range cap(results) {
		s := openAt(t, prefix, shared)
		all.Go(func() { results <- s.AgreeOnAuthority(t.Context(), fleetAuthority(string(rune('a'+i)))) })
	}
	all.Wait()
	won := 0
	for range cap(results) {
		switch err := <-results; {
		case err == nil:
			won++
		case !errors.Is(err, store.ErrOtherAuthority):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d authorities were agreed on", won)
	}
}
