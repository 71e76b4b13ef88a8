package repo_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/desired/edit"
	"ktrdr.io/fleet/pkg/source"
)

// TestPushesAtOnce accepts one after the other; those that are late are told to fetch.
func TestPushesAtOnce(t *testing.T) {
	s, _ := filled(t, nil)
	var running, most atomic.Int32
	var first sync.Once
	s.gate.check = func(context.Context, repo.Push, func(string)) error {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		// Time for all others to come in, were they let.
		first.Do(func() { time.Sleep(2 * time.Second) })
		running.Add(-1)
		return nil
	}
	const pushers = 5
	var wg sync.WaitGroup
	for i := range pushers {
		w := s.clone("ann")
		wg.Go(func() {
			for range 4 * pushers {
				w.git("fetch", "-q", "origin")
				w.git("reset", "-q", "--hard", "origin/main")
				w.write(fmt.Sprintf("note-%d.md", i), "x")
				w.commit(fmt.Sprintf("by %d", i))
				out, err := w.try("push", "-o", "nowait", "origin", "main")
				if err == nil {
					return
				}
				if !strings.Contains(out, "fetch first") && !strings.Contains(out, "rejected") {
					t.Errorf("pusher %d: %s", i, out)
					return
				}
			}
			t.Errorf("pusher %d never came through", i)
		})
	}
	wg.Wait()
	commits, err := s.repo.History(t.Context(), repo.HistoryQuery{})
	if err != nil || len(commits) != pushers+1 || most.Load() != 1 {
		t.Errorf("%d commits, at most %d checks at once, %v", len(commits), most.Load(), err)
	}
	for i, push := range s.gate.pushes()[1:] {
		if push.Old != s.gate.pushes()[i].New {
			t.Errorf("push %d is not on top of the one before", i)
		}
	}
}

func TestPusherGoesAway(t *testing.T) {
	s, w := filled(t, nil)
	first := s.head()
	began, ended := make(chan struct{}, 1), make(chan error, 1)
	s.gate.check = func(ctx context.Context, _ repo.Push, progress func(string)) error {
		began <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil
	}
	w.commit("second")
	kill(t, w, began)
	if err := <-ended; err == nil {
		t.Error("the check goes on without a pusher")
	}
	// A change has to wait for its turn: after it the push has come to its end.
	nothing := repo.Change{Edit: func(context.Context, source.Tree) ([]edit.Edit, string, error) { return nil, "", nil }}
	if head, err := s.repo.Change(t.Context(), nothing); err != nil || head.ID != first || s.head() != first {
		t.Fatalf("a push whose pusher left during the check was accepted: %+v, %v", head, err)
	}
	// While the rollout is watched the push counts.
	s.gate.check = nil
	s.gate.watch = func(ctx context.Context, _ string, progress func(string)) error {
		began <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	kill(t, w, began)
	if err := <-ended; err == nil {
		t.Error("the rollout is watched for nobody")
	}
	if id := w.git("rev-parse", "HEAD"); s.head() != id || s.branch(w) != id {
		t.Errorf("head %s, want %s", s.head(), id)
	}
	// Nobody holds the turn.
	s.gate.watch = nil
	w.commit("third")
	w.git("push", "-q", "origin", "main")
}

// kill starts a push and ends it, with its helpers, once began says so.
func kill(t *testing.T, w *work, began <-chan struct{}) {
	t.Helper()
	cmd := w.command(t.Context(), "push", "origin", "main")
	startGroup(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-began:
	case <-time.After(time.Minute):
		t.Error("the push did not come so far")
	}
	if err := killGroup(cmd); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
}
