package store_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/controller/store"
)

// steps reads a watch as text.
type steps struct {
	next func() (store.Change[store.Node], bool)
}

// follow has patience with each step.
func follow(t *testing.T, s *store.Store, from int64) *steps {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	next, stop := iter.Pull(s.Nodes().Watch(ctx, from))
	t.Cleanup(func() { cancel(); stop() })
	return &steps{next: func() (store.Change[store.Node], bool) {
		defer time.AfterFunc(patience, cancel).Stop()
		return next()
	}}
}

func (w *steps) expect(t *testing.T, want ...string) (last int64) {
	t.Helper()
	for _, each := range want {
		change, ok := w.next()
		if !ok {
			t.Fatalf("the watch ended, %q was expected", each)
		}
		got := map[store.What]string{store.Put: "put ", store.Deleted: "deleted ", store.Resync: "resync", store.Synced: "synced"}[change.What] + change.Key
		if change.What == store.Put && change.Value.Name != change.Key {
			t.Errorf("%s comes with %+v", got, change.Value)
		}
		if got != each {
			t.Fatalf("got %q, want %q", got, each)
		}
		if change.Revision < last {
			t.Fatalf("%s: revision %d after %d", got, change.Revision, last)
		}
		last = change.Revision
	}
	return last
}

func put(t *testing.T, s *store.Store, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := s.Nodes().Put(t.Context(), store.Node{Name: name, JoinedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, s *store.Store, name string) {
	t.Helper()
	if err := s.Nodes().Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	t.Run("external", func(t *testing.T) { testWatch(t, open(t)) })
	t.Run("embedded", func(t *testing.T) { testWatch(t, openEmbedded(t, t.TempDir())) })
}

func testWatch(t *testing.T, s *store.Store) {
	put(t, s, "a", "b")
	w := follow(t, s, 0)
	from := w.expect(t, "resync", "put a", "put b", "synced")
	put(t, s, "c")
	remove(t, s, "a")
	// Another table's records are not of interest.
	if err := s.Statuses().Put(t.Context(), store.Status{Node: "a"}); err != nil {
		t.Fatal(err)
	}
	put(t, s, "b")
	w.expect(t, "put c", "deleted a", "put b")
	follow(t, s, from).expect(t, "put c", "deleted a", "put b")
}

func TestWatchSurvivesCompaction(t *testing.T) {
	at := prefix()
	s := openAt(t, at, shared)
	put(t, s, "a")
	from := follow(t, s, 0).expect(t, "resync", "put a", "synced")
	put(t, s, "b")
	remove(t, s, "a")
	compact(t, at, shared)
	// What happened to a is no longer known, but that it is gone is.
	w := follow(t, s, from)
	w.expect(t, "resync", "put b", "synced")
	put(t, s, "c")
	w.expect(t, "put c")
}

func compact(t *testing.T, at string, endpoints ...string) {
	t.Helper()
	c := client(t, endpoints...)
	now, err := c.Get(t.Context(), at+"schema")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Compact(t.Context(), now.Header.Revision); err != nil {
		t.Fatal(err)
	}
}

// TestWatchEndsWithTransaction: a caller who stops between two changes of one transaction and goes
// on from the revision it has seen gets the second one.
func TestWatchEndsWithTransaction(t *testing.T) {
	s, ctx := open(t), t.Context()
	for i := range int64(51) {
		if _, err := s.StartRollout(ctx, i, store.Rollout{}); err != nil {
			t.Fatal(err)
		}
	}
	watch, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	from := int64(0)
	for change := range s.WatchRollouts(watch, 0) {
		if from = change.Revision; change.What == store.Synced {
			break
		}
	}
	if _, err := s.StartRollout(ctx, 51, store.Rollout{}); err != nil { // starts 52 and drops 1
		t.Fatal(err)
	}
	var got []string
	for _, want := range []int{1, 2} {
		for change := range s.WatchRollouts(watch, from) {
			got = append(got, fmt.Sprint(change.What, change.Value.Number))
			from = change.Revision
			if want--; want == 0 {
				break
			}
		}
	}
	started, dropped := fmt.Sprint(store.Put, 52), fmt.Sprint(store.Deleted, 0)
	if diff := cmp.Diff([]string{started, started, dropped}, got); diff != "" {
		t.Error(diff)
	}
}

func TestListIsOneRevision(t *testing.T) {
	// 600 records are three pages; a writer moves one record from the end to the beginning.
	s, ctx := open(t), t.Context()
	for i := range 600 {
		put(t, s, fmt.Sprintf("n%04d", i))
	}
	list, err := s.Nodes().List(ctx)
	if err != nil || len(list) != 600 || list[599].Name != "n0599" {
		t.Fatalf("%d records: %v", len(list), err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			// The newer one of a pair is written first: at each revision there is at least one.
			names := [2]string{"a", "z"}
			if err := s.Nodes().Put(ctx, store.Node{Name: names[i%2]}); err == nil && i > 0 {
				_ = s.Nodes().Delete(ctx, names[(i+1)%2])
			}
		}
	}()
	until(t, "the writer writes", func(ctx context.Context) bool {
		_, err := s.Nodes().Get(ctx, "z")
		return err == nil
	})
	for range 30 {
		list, err := s.Nodes().List(ctx)
		if err != nil {
			t.Error(err)
			break
		}
		if list[0].Name != "a" && list[len(list)-1].Name != "z" {
			t.Error("neither a nor z: the pages are of different revisions")
			break
		}
	}
	close(stop)
	<-done
}
