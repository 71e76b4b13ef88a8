package controllers_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestNoChangeIsLost: two operators scale and deploy through two controllers, and somebody pushes
// to the remote repository, while controllers and members of etcd are killed. Each change that
// was acknowledged is one commit, none is undone by another, and all nodes get the last commit.
func TestNoChangeIsLost(t *testing.T) {
	w := newWorld(t)
	w.forge.push("the first", state())
	w.c[0].start()
	w.c[1].start()
	w.fill(nil)
	w.settle(w.c[0])
	second, err := ktrdrv1.NewAccessServiceClient(w.dial(w.c[1], w.token)).CreateOperator(t.Context(), &ktrdrv1.CreateOperatorRequest{Operator: &ktrdrv1.Operator{Name: "ann", Role: "operator"}})
	must(t, err)

	length := 25 * time.Second
	if testing.Short() {
		length = 8 * time.Second
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	made := &ledger{done: map[string]*ktrdrv1.ChangeResponse{}}
	var work sync.WaitGroup
	for name, token := range map[string]string{"admin": w.token, "ann": second.GetAccessToken()} {
		var clients []ktrdrv1.FleetServiceClient
		for _, c := range w.c {
			clients = append(clients, ktrdrv1.NewFleetServiceClient(w.dial(c, token)))
		}
		work.Go(func() { w.change(ctx, name, clients, made) })
	}
	var notes atomic.Int64
	work.Go(func() {
		for ctx.Err() == nil {
			wait(ctx, time.Duration(1000+rand.IntN(1500))*time.Millisecond)
			w.forge.push(fmt.Sprintf("note %d", notes.Load()), map[string]string{fmt.Sprintf("stacks/workers/notes/%d.md", notes.Load()): "by hand\n"}) //nolint:contextcheck // a push that is under way is not broken off
			notes.Add(1)
		}
	})
	began := time.Now()
	kills := w.havoc(func(kills int) bool { // on a slow machine there may be no change in that time
		nothing := kills == 0 || made.count() == 0 || notes.Load() == 0
		return time.Since(began) < length || nothing && time.Since(began) < length+patience
	})
	cancel()
	work.Wait()
	if kills == 0 || len(made.done) == 0 || notes.Load() == 0 {
		t.Fatalf("nothing happened: %d kills, %d changes, %d notes", kills, len(made.done), notes.Load())
	}
	w.settle(w.c[0])
	w.settle(w.c[1])
	made.compare(w, int(notes.Load()))
	w.check()
	t.Logf("%d changes were acknowledged and %d ended without an answer around %d kills and %d pushes by hand", len(made.done), len(made.unknown), kills, notes.Load())
}

// ledger is what operators asked for, by the reason that they gave.
type ledger struct {
	mu      sync.Mutex
	done    map[string]*ktrdrv1.ChangeResponse
	unknown []string
}

func (made *ledger) count() int {
	made.mu.Lock()
	defer made.mu.Unlock()
	return len(made.done)
}

// change scales and deploys at random until ctx ends.
func (w *world) change(ctx context.Context, name string, clients []ktrdrv1.FleetServiceClient, made *ledger) {
	for i := 0; ctx.Err() == nil; i++ {
		why := fmt.Sprintf("why-%s-%d.", name, i)
		client := clients[rand.IntN(len(clients))]
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		var answer *ktrdrv1.ChangeResponse
		var err error
		if node := nodeNames()[rand.IntN(len(nodeNames()))]; node != "a" {
			answer, err = client.Scale(call, &ktrdrv1.ScaleRequest{Pool: "backtest", Node: node, Count: int32(rand.IntN(4)), Why: why})
		} else {
			answer, err = client.Deploy(call, &ktrdrv1.DeployRequest{Stack: "core", Services: []string{"backend"}, Tag: fmt.Sprintf("%s-%d", name, i), Why: why})
		}
		cancel()
		made.mu.Lock()
		switch status.Code(err) { //nolint:exhaustive // the others are defects
		case codes.OK:
			if answer.GetRevision() != "" {
				made.done[why] = answer
			}
		case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Aborted:
			made.unknown = append(made.unknown, why)
		default:
			w.t.Errorf("change %s: %v", why, err)
		}
		made.mu.Unlock()
		wait(ctx, time.Duration(rand.IntN(150))*time.Millisecond)
	}
}

// havoc kills controllers and members, one of each kind at a time, while it is wanted.
func (w *world) havoc(wanted func(kills int) bool) (kills int) {
	ctx := w.t.Context()
	for wanted(kills) {
		wait(ctx, time.Duration(500+rand.IntN(1500))*time.Millisecond)
		var victims []interface {
			kill()
			start()
		}
		if rand.IntN(3) > 0 {
			victims = append(victims, w.c[rand.IntN(len(w.c))])
		}
		if rand.IntN(3) == 0 {
			victims = append(victims, w.etcd.members[w.etcd.names[rand.IntN(len(w.etcd.names))]])
		}
		for _, v := range victims {
			v.kill()
			kills++
		}
		wait(ctx, time.Duration(rand.IntN(4000))*time.Millisecond)
		for _, v := range victims {
			v.start()
		}
	}
	return kills
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// compare looks for each change in the remote's history.
func (made *ledger) compare(w *world, notes int) {
	w.t.Helper()
	times := map[string]int{}
	history := w.forge.history()
	for i, commit := range history {
		message := w.forge.git("--git-dir", w.forge.bare, "log", "-1", "--format=%B", commit)
		_, why, ok := strings.Cut(message, "why-")
		if !ok {
			continue
		}
		why = "why-" + why
		times[why]++
		if answer := made.done[why]; answer != nil && answer.GetRevision() != commit {
			w.t.Errorf("%s is commit %s, the operator was told of %s", why, commit, answer.GetRevision())
		}
		// Nothing but the one line that was asked for.
		if changed := w.forge.git("--git-dir", w.forge.bare, "diff", "--numstat", history[i-1], commit); strings.Contains(changed, "\n") || strings.Contains(changed, "/notes/") {
			w.t.Errorf("%s (%q) changes more than its own:\n%s", commit, message, changed)
		}
	}
	for why := range made.done {
		if times[why] != 1 {
			w.t.Errorf("%s was acknowledged and is %d commits", why, times[why])
		}
	}
	for _, why := range made.unknown {
		if times[why] > 1 {
			w.t.Errorf("%s ended without an answer and is %d commits", why, times[why])
		}
	}
	for i := range notes {
		if got := w.forge.file(history[len(history)-1], fmt.Sprintf("stacks/workers/notes/%d.md", i)); got != "by hand" {
			w.t.Errorf("what somebody pushed is lost: note %d", i)
		}
	}
}
