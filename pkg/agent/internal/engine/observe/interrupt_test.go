package observe_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/api"
)

// TestInterrupted: whose doing the end of a container is.
func TestInterrupted(t *testing.T) {
	tests := []struct {
		name string
		do   func(r *rig, id string) error
		want bool
	}{
		{"ended by itself", func(r *rig, id string) error { return r.hand.End(id, 0) }, false},
		{"stopped", func(r *rig, id string) error { return r.hand.Stop(id, time.Second) }, true},
		{"killed", func(r *rig, id string) error { return r.hand.Kill(id) }, true},
		{"engine restarted", func(r *rig, _ string) error {
			r.fake.Crash()
			settle(time.Second)
			r.fake.Recover(enginetest.StopAll)
			return nil
		}, true},
		{"ended while the engine was away", func(r *rig, id string) error {
			r.fake.Crash()
			settle(time.Second)
			err := r.hand.End(id, 0)
			r.fake.Recover(enginetest.LiveRestore)
			return err
		}, true},
		{"ended by itself while the agent was not connected", func(r *rig, id string) error {
			r.fake.Crash()
			settle(time.Second)
			r.fake.Recover(enginetest.LiveRestore)
			return r.hand.End(id, 0)
		}, false},
		{"ended by itself after the engine was away", func(r *rig, id string) error {
			r.fake.Crash()
			settle(time.Second)
			r.fake.Recover(enginetest.LiveRestore)
			settle(time.Minute)
			return r.hand.End(id, 0)
		}, false},
		{"stopped, started, ended by itself", func(r *rig, id string) error {
			if err := r.hand.Stop(id, time.Second); err != nil {
				return err
			}
			settle(2 * time.Second)
			if err := r.hand.Start(id); err != nil {
				return err
			}
			settle(time.Second)
			return r.hand.End(id, 0)
		}, false},
		{"killed, its event repeated and the list read again", func(r *rig, id string) error {
			r.fake.RepeatEvents(2)
			err := r.hand.Kill(id)
			settle(10 * time.Minute)
			return err
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, observe.Config{}, func(t *testing.T, r *rig) {
				id := r.run(t, "job", "p")
				settle(time.Second)
				if err := tt.do(r, id); err != nil {
					t.Fatal(err)
				}
				settle(time.Minute)
				got := r.Snapshot().Containers[id]
				if got == nil || got.State != api.StateExited {
					t.Fatalf("the container has not ended: %+v", got)
				}
				if got.Facts.Interrupted != tt.want {
					t.Errorf("interrupted: %v, want %v", got.Facts.Interrupted, tt.want)
				}
			})
		})
	}
}

// TestRebootInterrupts: a container that was started before the machine and ended after
// it did not end by itself, although nobody was there to see.
func TestRebootInterrupts(t *testing.T) {
	for _, tt := range []struct {
		name string
		// boot is counted from the start of the container, which ends after a minute.
		boot time.Duration
		want bool
	}{
		{"booted meanwhile", 30 * time.Second, true},
		{"booted before", -time.Hour, false},
		{"booted after", time.Hour, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				kernel := time.Now().Add(tt.boot - 5*time.Second).Unix()
				procFile(t, filepath.Join(root, "stat"), fmt.Sprintf("cpu 1 2 3\nbtime %d\nprocesses 1\n", kernel))
				procFile(t, filepath.Join(root, "1", "stat"), "1 (init) S 0 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 500 1 1\n")
				r := newRig(observe.Config{ProcRoot: root})
				id := r.run(t, "job", "p")
				time.Sleep(time.Minute)
				r.fake.Crash() // it remembers nothing of what was before
				if err := r.hand.End(id, 0); err != nil {
					t.Fatal(err)
				}
				r.fake.Recover(enginetest.LiveRestore)
				start(t, r)
				settle(time.Second)
				if got := r.Snapshot().Containers[id]; got.Facts.Interrupted != tt.want {
					t.Errorf("interrupted: %v, want %v", got.Facts.Interrupted, tt.want)
				}
			})
		})
	}
}

// TestEndedUnseen: whose doing an end was that came while no agent was there to see.
func TestEndedUnseen(t *testing.T) {
	end := func(r *rig, id string) error { return r.hand.End(id, 0) }
	restart := func(r *rig) {
		r.fake.Crash()
		r.fake.Recover(enginetest.LiveRestore)
	}
	tests := []struct {
		name string
		// remembered is the age of the run that an earlier agent has seen; 0 is none. The
		// present one is a minute old.
		remembered time.Duration
		do         func(r *rig, id string) error
		want       bool
	}{
		{"stopped", 0, func(r *rig, id string) error { return r.hand.Stop(id, time.Second) }, true},
		{"stopped, after it was seen", time.Minute, func(r *rig, id string) error { return r.hand.Stop(id, time.Second) }, true},
		{"ended by itself", 0, end, false},
		{"ended by itself, after it was seen", time.Minute, end, false},
		{"ended, then the engine restarted", 0, func(r *rig, id string) error {
			defer restart(r)
			return end(r, id)
		}, false},
		{"ended, then the engine restarted, after it was seen", time.Minute, func(r *rig, id string) error {
			defer restart(r)
			return end(r, id)
		}, true},
		{"ended, then the engine restarted, after an earlier run was seen", time.Hour, func(r *rig, id string) error {
			defer restart(r)
			return end(r, id)
		}, false},
		{"stopped by the engine's restart", 0, func(r *rig, _ string) error {
			r.fake.Crash()
			r.fake.Recover(enginetest.StopAll)
			return nil
		}, true},
		{"ended by itself before more than the engine remembers, after it was seen", time.Minute, func(r *rig, id string) error {
			if err := end(r, id); err != nil {
				return err
			}
			return makeNoise(r, 300)
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(observe.Config{ProcRoot: "/nonexistent"})
				id := r.run(t, "job", "p")
				running, err := r.fake.InspectContainer(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if err := tt.do(r, id); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute) // longer than what the cache reads of events anyway
				if tt.remembered > 0 {
					r.RememberRun(id, running.StartedAt.Add(time.Minute-tt.remembered))
				}
				start(t, r)
				settle(time.Second)
				got := r.Snapshot().Containers[id]
				if got.State != api.StateExited || got.Facts.Interrupted != tt.want {
					t.Errorf("%s, interrupted: %v, want %v", got.State, got.Facts.Interrupted, tt.want)
				}
			})
		})
	}
}

// makeNoise lets the engine tell of n things.
func makeNoise(r *rig, n int) error {
	for range n {
		id, err := r.hand.Run(request("noise", ""))
		if err != nil {
			return err
		}
		if err := r.hand.Remove(id); err != nil {
			return err
		}
	}
	return nil
}

func procFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
