package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"ktrdr.io/fleet/pkg/controller/store"
)

// client is a way around the store, for doing what it does not do.
func client(t *testing.T, endpoints ...string) *clientv3.Client {
	t.Helper()
	made, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = made.Close() })
	return made
}

// loseLease ends the lease of a controller behind its back.
func loseLease(t *testing.T, at, id string) {
	t.Helper()
	c := client(t, shared)
	got, err := c.Get(t.Context(), at+"controllers/"+id)
	if err != nil || len(got.Kvs) != 1 {
		t.Fatalf("controller %s: %v, %d keys", id, err, len(got.Kvs))
	}
	if _, err := c.Revoke(t.Context(), clientv3.LeaseID(got.Kvs[0].Lease)); err != nil {
		t.Fatal(err)
	}
}

// candidates waits until so many stand for the election of TestLead.
func candidates(t *testing.T, at string, n int64) {
	t.Helper()
	c := client(t, shared)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		got, err := c.Get(t.Context(), at+"elections/rollouts/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			t.Fatal(err)
		}
		if got.Count == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d candidates, want %d", got.Count, n)
		}
	}
}

func connectedTo(s *store.Store, node, controller string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		found, err := s.Connections().Get(ctx, node)
		if controller == "" {
			return errors.Is(err, store.ErrNotFound)
		}
		return err == nil && found.Controller == controller
	}
}

func TestConnections(t *testing.T) {
	at := prefix()
	s, other := openAt(t, at, shared), openAt(t, at, shared)
	ctx, start := t.Context(), time.Unix(1000, 0).UTC()
	c1, c2 := session(t, s, "c1"), session(t, other, "c2")
	if err := c1.PutStatus(ctx, store.Status{Node: "a"}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("status of a node that is not connected: %v", err)
	}
	if err := c1.Connect(ctx, store.Connection{Node: "a", Since: start}); err != nil {
		t.Fatal(err)
	}
	if err := c1.PutStatus(ctx, store.Status{Node: "a", Data: []byte("one")}); err != nil {
		t.Errorf("status: %v", err)
	}
	if err := c2.Connect(ctx, store.Connection{Node: "a", Since: start.Add(time.Second)}); err != nil {
		t.Fatal(err)
	}
	if err := c1.PutStatus(ctx, store.Status{Node: "a", Data: []byte("late")}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("late status of the controller before: %v", err)
	}
	if err := c1.Disconnect(ctx, "a", start); err != nil {
		t.Error(err)
	}
	until(t, "a stays at c2", connectedTo(s, "a", "c2"))
	if err := c2.Close(); err != nil {
		t.Error(err)
	}
	until(t, "a goes with c2", connectedTo(s, "a", ""))
	if list, err := s.Controllers().List(ctx); err != nil || len(list) != 1 || list[0].ID != "c1" {
		t.Errorf("controllers: %v %+v", err, list)
	}
}

func TestSessionComesBack(t *testing.T) {
	at := prefix()
	// It notices within a third of its lease.
	s, other := openLeased(t, 9*time.Second, at, shared), openAt(t, at, shared)
	ctx, start := t.Context(), time.Unix(1000, 0).UTC()
	c1, c2 := session(t, s, "c1"), session(t, other, "c2")
	for _, node := range []string{"a", "b"} {
		if err := c1.Connect(ctx, store.Connection{Node: node, Since: start}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c2.Connect(ctx, store.Connection{Node: "b", Since: start.Add(time.Second)}); err != nil {
		t.Fatal(err)
	}
	loseLease(t, at, "c1")
	until(t, "a is back", connectedTo(s, "a", "c1"))
	until(t, "b stays where it went", connectedTo(s, "b", "c2"))
	until(t, "statuses are taken again", func(ctx context.Context) bool {
		return c1.PutStatus(ctx, store.Status{Node: "a"}) == nil
	})
	// What is forgotten does not come back.
	if err := c1.Disconnect(ctx, "a", start); err != nil {
		t.Fatal(err)
	}
	loseLease(t, at, "c1")
	until(t, "c1 is back", func(ctx context.Context) bool {
		_, err := s.Controllers().Get(ctx, "c1")
		return err == nil
	})
	if !connectedTo(s, "a", "")(ctx) || !connectedTo(s, "b", "c2")(ctx) {
		t.Error("connections that c1 no longer has came back with it")
	}
}

// leader leads until released and notes the beginning and the end of each term.
type leader struct{ terms chan string }

func (l *leader) run(t *testing.T, se *store.Session, id string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- se.Lead(ctx, "rollouts", func(ctx context.Context) error {
			l.terms <- id
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	return func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: lead ended with %v", id, err)
			}
		case <-time.After(patience):
			t.Errorf("%s: lead did not end", id)
		}
	}
}

func (l *leader) next(t *testing.T) string {
	t.Helper()
	select {
	case id := <-l.terms:
		return id
	case <-time.After(patience):
		t.Fatal("nobody leads")
		return ""
	}
}

func TestLead(t *testing.T) {
	at := prefix()
	c1 := session(t, openAt(t, at, shared), "c1")
	c2 := session(t, openAt(t, at, shared), "c2")
	l := &leader{terms: make(chan string, 10)}
	stop1 := l.run(t, c1, "c1")
	if got := l.next(t); got != "c1" {
		t.Fatalf("%s leads", got)
	}
	stop2 := l.run(t, c2, "c2")
	defer stop2()
	candidates(t, at, 2)
	loseLease(t, at, "c1")
	if got := l.next(t); got != "c2" {
		t.Fatalf("%s leads after c1 lost its lease", got)
	}
	candidates(t, at, 2) // c1 stands again
	loseLease(t, at, "c2")
	if got := l.next(t); got != "c1" {
		t.Fatalf("%s leads after c2 lost its lease", got)
	}
	stop1()
	if got := l.next(t); got != "c2" {
		t.Fatalf("%s leads after c1 stopped", got)
	}
}

// TestOneLeads hands leadership around between four controllers: never do two have it.
func TestOneLeads(t *testing.T) {
	at := prefix()
	var leading, terms atomic.Int64
	var all sync.WaitGroup
	for i := range 4 {
		se := session(t, openAt(t, at, shared), fmt.Sprint("c", i))
		all.Go(func() {
			for range 5 {
				err := se.Lead(t.Context(), "x", func(context.Context) error {
					if n := leading.Add(1); n != 1 {
						t.Errorf("%d lead at once", n)
					}
					terms.Add(1)
					time.Sleep(5 * time.Millisecond)
					leading.Add(-1)
					return nil
				})
				if err != nil {
					t.Errorf("lead: %v", err)
				}
			}
		})
	}
	all.Wait()
	if n := terms.Load(); n != 20 {
		t.Errorf("%d terms, 20 were asked for", n)
	}
}

// TestLossIsNoticed has leases so long that only what etcd says can tell that they are gone.
func TestLossIsNoticed(t *testing.T) {
	at := prefix()
	s := openConfig(t, store.Config{External: &store.External{Endpoints: []string{shared}, Prefix: at}, Lease: time.Hour})
	c1 := session(t, s, "c1")
	l := &leader{terms: make(chan string, 10)}
	defer l.run(t, c1, "c1")()
	l.next(t)
	loseLease(t, at, "c1")
	// Leads again, under a new lease.
	l.next(t)

	loseLease(t, at, "c1")
	until(t, "a connection makes the session look", func(ctx context.Context) bool {
		return c1.Connect(ctx, store.Connection{Node: "a", Since: time.Unix(1, 0)}) == nil
	})
	until(t, "the controller is registered", func(ctx context.Context) bool {
		_, err := s.Controllers().Get(ctx, "c1")
		return err == nil
	})
}

func TestLeadEnds(t *testing.T) {
	s := open(t)
	c1 := session(t, s, "c1")
	boom := errors.New("boom")
	if err := c1.Lead(t.Context(), "x", func(context.Context) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("lead: %v", err)
	}
	if err := c1.Lead(t.Context(), "x", func(context.Context) error { return nil }); err != nil {
		t.Errorf("second lead: %v", err)
	}
	if err := c1.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c1.Lead(t.Context(), "x", func(context.Context) error { return nil }); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("lead without a session: %v", err)
	}
}
