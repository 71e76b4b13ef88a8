package store_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/controller/store"
)

// contend calls do from n goroutines at once, alternately with each of the stores.
func contend(stores []*store.Store, n int, do func(s *store.Store, i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(stores[i%len(stores)], i) })
	}
	all.Wait()
}

func redeemOnce(t *testing.T, stores ...*store.Store) {
	t.Helper()
	now := time.Now().UTC()
	for round := range 10 {
		token := store.JoinToken{ID: fmt.Sprintf("t%d", round), SecretHash: hash("x"), Node: "a", ExpiresAt: now.Add(time.Hour)}
		if err := stores[0].Tokens().Create(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		var successes atomic.Int64
		contend(stores, 8, func(s *store.Store, i int) {
			_, err := s.Redeem(t.Context(), store.Redemption{ID: token.ID, Hash: hash("x"), Node: token.Node, Key: fmt.Sprint(i), At: now})
			switch {
			case err == nil:
				successes.Add(1)
			case !errors.Is(err, store.ErrTokenUsed):
				t.Errorf("redeem: %v", err)
			}
		})
		if n := successes.Load(); n != 1 {
			t.Fatalf("round %d: the token was redeemed %d times", round, n)
		}
	}
}

// advanceAll lets writers append to the head; every append must be one link of one chain.
func advanceAll(t *testing.T, stores ...*store.Store) {
	t.Helper()
	const writers, each = 8, 10
	var mu sync.Mutex
	parents := map[string]string{}
	contend(stores, writers, func(s *store.Store, i int) {
		for n := range each {
			next := store.Head{Revision: fmt.Sprintf("w%d-%d", i, n), By: fmt.Sprint(i)}
			for {
				now, err := s.Head(t.Context())
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Errorf("head: %v", err)
					return
				}
				next.Parent = now.Revision
				_, err = s.AdvanceHead(t.Context(), now.Revision, next)
				if err == nil {
					break
				}
				if !errors.Is(err, store.ErrConflict) {
					t.Errorf("advance: %v", err)
					return
				}
			}
			mu.Lock()
			parents[next.Revision] = next.Parent
			mu.Unlock()
		}
	})
	head, err := stores[0].Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if head.Generation != writers*each {
		t.Errorf("generation is %d after %d accepted heads", head.Generation, writers*each)
	}
	length := 0
	for at := head.Revision; at != ""; at = parents[at] {
		length++
	}
	if length != writers*each {
		t.Errorf("the chain has %d links, %d heads were accepted: an update was lost", length, writers*each)
	}
}

func TestContention(t *testing.T) {
	at := prefix()
	stores := []*store.Store{openAt(t, at, shared), openAt(t, at, shared)}
	redeemOnce(t, stores...)
	advanceAll(t, stores...)
}
