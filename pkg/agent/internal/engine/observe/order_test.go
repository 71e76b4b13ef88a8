package observe_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
)

// TestBurstsAreCoalesced holds inspections back while events of one container come in.
func TestBurstsAreCoalesced(t *testing.T) {
	var inspections atomic.Int64
	synctest.Test(t, func(t *testing.T) {
		r := newRig(observe.Config{})
		r.fake.OnCall = func(method, _ string) error {
			if method == "InspectContainer" {
				inspections.Add(1)
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		}
		id := r.run(t, "web", "p")
		start(t, r)
		for range 50 {
			if err := errors.Join(r.hand.Pause(id), r.hand.Unpause(id)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		settle(time.Second)
		r.requireTruth(t)
		if n := inspections.Load(); n < 2 || n > 3 {
			t.Errorf("%d inspections for a burst of 100 events, want 2 or 3", n)
		}
	})
}

// TestEventDuringInspection answers an inspection with what was true before the change
// that the second event is about.
func TestEventDuringInspection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(observe.Config{})
		r.fake.AfterCall = func(method, _ string) error {
			if method == "InspectContainer" {
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		}
		id := r.run(t, "web", "p")
		settle(time.Minute) // or the stream would begin with the events of its start
		start(t, r)
		if err := r.hand.Pause(id); err != nil {
			t.Fatal(err)
		}
		settle(50 * time.Millisecond)
		if err := r.hand.Unpause(id); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		r.requireTruth(t)
	})
}

// TestLateAnswers lets the answer to an earlier inspection arrive after that to a later one.
func TestLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(observe.Config{})
		var calls atomic.Int64
		r.fake.AfterCall = func(method, _ string) error {
			if method == "InspectContainer" && calls.Add(1) == 1 {
				time.Sleep(time.Second)
			}
			return nil
		}
		id := r.run(t, "web", "p")
		settle(time.Minute) // or the stream would begin with the events of its start
		start(t, r)
		r.fake.DropEvents(1000)
		late := make(chan error, 1)
		go func() { late <- r.Refresh(t.Context(), id) }()
		synctest.Wait()
		if err := errors.Join(r.hand.Remove(id), r.Refresh(t.Context(), id)); err != nil {
			t.Fatal(err)
		}
		r.requireTruth(t)
		if err := <-late; err != nil {
			t.Fatal(err)
		}
		r.requireTruth(t)
	})
}

// TestLateList lets a list that began before a change arrive after the change is known.
func TestLateList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(observe.Config{Relist: time.Minute})
		r.fake.AfterCall = func(method, _ string) error {
			if method == "List" {
				time.Sleep(time.Second)
			}
			return nil
		}
		gone, ended := r.run(t, "gone", "p"), r.run(t, "ended", "p")
		start(t, r)
		settle(61*time.Second + 500*time.Millisecond)
		lists := r.fake.Calls()["List"]
		if lists != 2 {
			t.Fatalf("%d lists have begun, want the second one under way", lists)
		}
		if err := errors.Join(r.hand.Remove(gone), r.hand.End(ended, 1)); err != nil {
			t.Fatal(err)
		}
		r.run(t, "new", "p")
		synctest.Wait()
		r.requireTruth(t)
		settle(time.Second)
		r.requireTruth(t)
	})
}

// TestNoGapBeforeTheStream changes something after the first list was read and before the
// event stream is open.
func TestNoGapBeforeTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(observe.Config{Relist: time.Hour})
		id := r.run(t, "web", "p")
		r.fake.AfterCall = func(method, _ string) error {
			if method != "List" {
				return nil
			}
			err := r.hand.End(id, 1)
			time.Sleep(time.Second)
			return err
		}
		start(t, r)
		settle(2 * time.Second)
		r.requireTruth(t)
	})
}

// TestWaitingIsCoalesced sends events of a container while all places are taken.
func TestWaitingIsCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(observe.Config{Parallel: 1})
		slow, waiting := r.run(t, "slow", "p"), r.run(t, "waiting", "p")
		var inspections atomic.Int64
		start(t, r)
		settle(time.Minute)
		r.fake.OnCall = func(method, object string) error {
			switch {
			case method == "InspectContainer" && object == slow:
				time.Sleep(100 * time.Millisecond)
			case method == "InspectContainer":
				inspections.Add(1)
			}
			return nil
		}
		if err := r.hand.Pause(slow); err != nil {
			t.Fatal(err)
		}
		settle(time.Millisecond)
		for range 20 {
			if err := errors.Join(r.hand.Pause(waiting), r.hand.Unpause(waiting)); err != nil {
				t.Fatal(err)
			}
			settle(time.Millisecond)
		}
		settle(time.Second)
		r.requireTruth(t)
		if n := inspections.Load(); n != 1 {
			t.Errorf("%d inspections of a container whose 40 events came while it waited, want 1", n)
		}
	})
}
