package observe_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/api"
)

func TestCrashOfTheEngine(t *testing.T) {
	inBubble(t, observe.Config{Relist: time.Hour}, func(t *testing.T, r *rig) {
		id := r.run(t, "web", "p")
		synctest.Wait()
		r.rings.take()
		r.fake.Crash()
		settle(time.Second)
		up, since, err := r.Connected()
		if up || !errors.Is(err, engine.ErrUnreachable) || time.Since(since) != time.Second {
			t.Errorf("connected %v since %v ago, %v; want away for 1s, unreachable", up, time.Since(since), err)
		}
		if got := r.Snapshot(); !got.Complete || got.Containers[id] == nil {
			t.Error("the last known state is gone with the engine")
		}
		if got := r.rings.take(); !slices.Equal(got, []string{""}) {
			t.Errorf("rang %q when the engine went away, want everybody", got)
		}
		r.fake.Recover(enginetest.StopAll)
		settle(10 * time.Second)
		if up, _, err := r.Connected(); !up || err != nil {
			t.Errorf("connected %v, %v after the engine came back", up, err)
		}
		r.requireTruth(t)
		if r.Snapshot().Containers[id].State != api.StateExited {
			t.Error("a container that the engine ended at its start still runs in the snapshot")
		}
		if got := r.rings.take(); !slices.Equal(got, []string{""}) {
			t.Errorf("rang %q when the engine came back, want everybody", got)
		}
	})
}

// TestReconnectRetries: what an engine that is gone refused is tried again with the next
// one at once, not when its back-off ends. What failed just now has a pause all the same,
// and what failed for good stays.
func TestReconnectRetries(t *testing.T) {
	inBubble(t, observe.Config{Relist: time.Hour}, func(t *testing.T, r *rig) {
		fail := func(key string, class api.ErrorClass, wait time.Duration) {
			now := time.Now()
			r.SetFailure(key, &api.Failure{Count: 9, At: now, RetryAt: now.Add(wait), Class: class, Reason: api.ReasonPortConflict})
		}
		fail("port", api.Waiting, 5*time.Minute)
		fail("spec", api.Terminal, 5*time.Minute)
		settle(time.Minute)
		r.fake.Crash()
		settle(time.Second)
		fail("crash", api.Transient, time.Minute)
		fail("soon", api.Transient, time.Second)
		r.rings.take()
		failed := time.Now()
		r.fake.Recover(enginetest.LiveRestore)
		settle(8 * time.Second)
		_, back, _ := r.Connected()
		for key, want := range map[string]time.Time{
			"port": back, "crash": failed.Add(10 * time.Second), "soon": failed.Add(time.Second), "spec": failed.Add(4*time.Minute - time.Second),
		} {
			if got := r.Snapshot().Failures[key]; !got.RetryAt.Equal(want) || got.Count != 9 {
				t.Errorf("%s is tried again %s after the engine came back (%d failures), want %s", key, got.RetryAt.Sub(back), got.Count, want.Sub(back))
			}
		}
	})
}

func TestReconnectBacksOff(t *testing.T) {
	inBubble(t, observe.Config{}, func(t *testing.T, r *rig) {
		r.fake.Crash()
		synctest.Wait()
		r.fake.ResetCalls()
		settle(time.Minute)
		// 10 ms doubling to 5 s makes 10 attempts in 10 s; after that one every 2.5 to 7.5 s.
		if n := r.fake.Calls()["List"]; n < 10 || n > 40 {
			t.Errorf("%d attempts in a minute, want 10 to 40", n)
		}
		r.fake.Recover(enginetest.LiveRestore)
		settle(8 * time.Second)
		if up, _, _ := r.Connected(); !up {
			t.Error("not connected 8 s after the engine came back")
		}
	})
}

func TestEngineIsAwayFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(observe.Config{})
		id := r.run(t, "web", "p")
		r.fake.Crash()
		start(t, r)
		settle(time.Minute)
		if r.Snapshot().Complete {
			t.Error("complete without a list")
		}
		if err := r.Refresh(t.Context(), id); !errors.Is(err, engine.ErrUnreachable) {
			t.Errorf("refresh without an engine: %v", err)
		}
		r.fake.Recover(enginetest.LiveRestore)
		settle(10 * time.Second)
		if !r.Snapshot().Complete {
			t.Error("not complete after the engine came")
		}
		r.requireTruth(t)
	})
}

// TestHungEngine has an engine that accepts calls and answers none; its client bounds
// them at 10 s.
func TestHungEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(observe.Config{Relist: time.Minute})
		r.Cache = observe.New(bounded{r.fake}, observe.Config{Relist: time.Hour})
		id := r.run(t, "web", "p")
		start(t, r)
		r.fake.Hang()
		began := time.Now()
		if err := r.Refresh(t.Context(), id); !errors.Is(err, engine.ErrTimeout) {
			t.Errorf("refresh of a hung engine: %v", err)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("refresh of a hung engine took %s", took)
		}
		settle(11 * time.Second)
		if up, _, err := r.Connected(); up || !errors.Is(err, engine.ErrTimeout) {
			t.Errorf("connected %v, %v a list's time limit after the first timeout; want a timeout", up, err)
		}
		r.fake.Resume()
		settle(2 * time.Minute)
		if up, _, _ := r.Connected(); !up {
			t.Error("not connected after the engine woke up")
		}
		r.requireTruth(t)
	})
}

// bounded gives List the time limit that the real client has.
type bounded struct{ observe.Engine }

func (b bounded) List(ctx context.Context) (engine.List, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return b.Engine.List(ctx)
}

// TestHungContainers freezes more containers than there are places for inspections.
func TestHungContainers(t *testing.T) {
	inBubble(t, observe.Config{Relist: time.Hour}, func(t *testing.T, r *rig) {
		var frozen []string
		for i := range 20 {
			frozen = append(frozen, r.run(t, fmt.Sprintf("frozen%d", i), "p"))
		}
		other := r.run(t, "other", "q")
		settle(time.Second)
		for _, id := range frozen {
			r.fake.Freeze(id)
			if err := r.hand.Pause(id); err != nil {
				t.Fatal(err)
			}
		}
		settle(10 * time.Millisecond)
		r.rings.take()
		if err := r.hand.Pause(other); err != nil {
			t.Fatal(err)
		}
		settle(1500 * time.Millisecond)
		if got := r.Snapshot().Containers[other].State; got != api.StatePaused {
			t.Errorf("a change of another container is not seen after 1.5 s: %s", got)
		}
		settle(20 * time.Second)
		for _, id := range frozen {
			c := r.Snapshot().Containers[id]
			if !c.Facts.Unresponsive || c.State != api.StateRunning || c.Name == "" {
				t.Errorf("container %s: unresponsive %v, state %s; want unresponsive and the last known state", c.Name, c.Facts.Unresponsive, c.State)
			}
		}
		if got := r.rings.take(); !slices.Equal(got, []string{"p", "q"}) {
			t.Errorf("rang %q, want p and q", got)
		}
		for _, id := range frozen {
			r.fake.Thaw(id)
		}
		settle(5 * time.Minute)
		r.requireTruth(t)
	})
}

func TestHungContainerIsRetriedSlowly(t *testing.T) {
	inBubble(t, observe.Config{Relist: time.Hour, Parallel: 1}, func(t *testing.T, r *rig) {
		frozen, other := r.run(t, "frozen", "p"), r.run(t, "other", "q")
		settle(time.Second)
		r.fake.Freeze(frozen)
		if err := r.hand.Pause(frozen); err != nil {
			t.Fatal(err)
		}
		settle(6 * time.Second)
		before := inspectionsOf(r, frozen)
		toggle := []func(string) error{r.hand.Pause, r.hand.Unpause}
		for i := range 6000 {
			if err := toggle[i%2](other); err != nil {
				t.Fatal(err)
			}
			settle(100 * time.Millisecond)
			if got := r.Snapshot().Containers[other].State == api.StatePaused; got != (i%2 == 0) {
				t.Fatalf("a change of another container is not seen after 100 ms, %d ms on", i*100)
			}
		}
		if n := inspectionsOf(r, frozen) - before; n < 5 || n > 20 {
			t.Errorf("%d inspections of a hung container in ten minutes, want 5 to 20", n)
		}
	})
}

func inspectionsOf(r *rig, id string) (n int) {
	for _, call := range r.fake.History() {
		if call.Method == "InspectContainer" && call.Object == id {
			n++
		}
	}
	return n
}

// TestListOfAHungContainer has the first list meet a container that does not answer.
func TestListOfAHungContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(observe.Config{Relist: time.Minute})
		id := r.run(t, "web", "p")
		r.fake.Freeze(id)
		// Events of its start would have it inspected, too.
		settle(time.Minute)
		start(t, r)
		settle(11 * time.Second)
		c := r.Snapshot().Containers[id]
		if c == nil || !c.Facts.Unresponsive || c.Labels[api.LabelProject] != "p" {
			t.Fatalf("container is %+v, want what the list knows of it", c)
		}
		r.fake.Thaw(id)
		settle(40 * time.Second)
		r.requireTruth(t)
		r.fake.Freeze(id)
		settle(2 * time.Minute)
		c = r.Snapshot().Containers[id]
		if !c.Facts.Unresponsive || c.Pid == 0 || len(c.Spec.Entrypoint)+len(c.Spec.NetworkMode) == 0 {
			t.Errorf("a list of little replaced what was known: %+v", c)
		}
		r.fake.Thaw(id)
		settle(5 * time.Minute)
		r.requireTruth(t)
	})
}

func TestFailedInspectionIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(observe.Config{Relist: time.Hour})
		failures := 3
		r.fake.OnCall = func(method, _ string) error {
			if method == "InspectContainer" && failures > 0 {
				failures--
				return errors.New("engine is confused")
			}
			return nil
		}
		start(t, r)
		r.run(t, "web", "p")
		settle(10 * time.Second)
		r.requireTruth(t)
	})
}

// TestNetworkUnderACreatedContainer removes and makes the network of a container that
// was never started, which follows it without an event of its own.
func TestNetworkUnderACreatedContainer(t *testing.T) {
	inBubble(t, observe.Config{Relist: time.Hour}, func(t *testing.T, r *rig) {
		if _, err := r.hand.CreateNetwork(api.NetworkSpec{Name: "net"}); err != nil {
			t.Fatal(err)
		}
		req := request("web", "p")
		req.Spec.Endpoints = []api.Endpoint{{Network: "net"}}
		if _, err := r.hand.Create(req); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.requireTruth(t)
		if err := r.hand.RemoveNetwork("net"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.requireTruth(t)
		if _, err := r.hand.CreateNetwork(api.NetworkSpec{Name: "net"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.requireTruth(t)
	})
}

func TestRefreshShowsWhatWasDone(t *testing.T) {
	inBubble(t, observe.Config{Relist: time.Hour}, func(t *testing.T, r *rig) {
		r.fake.DropEvents(1000)
		ctx := t.Context()
		id := r.run(t, "web", "p")
		network, err := r.hand.CreateNetwork(api.NetworkSpec{Name: "n"})
		if err := errors.Join(err, r.hand.CreateVolume(api.Volume{Name: "v"})); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Refresh(ctx, id), r.RefreshNetwork(ctx, network), r.RefreshVolume(ctx, "v")); err != nil {
			t.Fatal(err)
		}
		r.requireTruth(t)
		if err := errors.Join(r.hand.Remove(id), r.hand.RemoveNetwork(network), r.hand.RemoveVolume("v")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Refresh(ctx, id), r.RefreshNetwork(ctx, network), r.RefreshVolume(ctx, "v")); err != nil {
			t.Fatal(err)
		}
		r.requireTruth(t)
		id = r.run(t, "web", "p")
		if err := errors.Join(r.Refresh(ctx, id), r.hand.Remove(id)); err != nil {
			t.Fatal(err)
		}
		r.Forget(id)
		r.requireTruth(t)
	})
}

func TestSnapshotsAreImmutable(t *testing.T) {
	inBubble(t, observe.Config{}, func(t *testing.T, r *rig) {
		id := r.run(t, "web", "p")
		synctest.Wait()
		before := r.Snapshot()
		container := *before.Containers[id]
		images, networks := len(before.Images), len(before.Networks)
		r.SetImage("a", &api.Image{})
		r.SetFacts(id, func(f *api.ContainerFacts) { f.SpecHash = "changed" })
		if _, err := r.hand.CreateNetwork(api.NetworkSpec{Name: "n"}); err != nil {
			t.Fatal(err)
		}
		if err := r.hand.Remove(id); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(before.Images) != images || len(before.Networks) != networks || before.Containers[id].Facts.SpecHash != "" ||
			before.Containers[id].State != container.State {
			t.Error("an old snapshot changed")
		}
	})
}
