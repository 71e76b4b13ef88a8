package sim_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// TestRotationCrash: the agent dies before, half-way and after every call of a rotation.
// Whatever happens, nobody gets a value before the database accepted it, the database keeps
// its container, and those who use it are replaced once.
func TestRotationCrash(t *testing.T) {
	for _, when := range []string{"before", "half-way", "after"} {
		crashed := true
		for at := 1; crashed; at++ {
			crashed = rotationCrash(t, when, at)
			if at > 300 {
				t.Fatal("the rotation has no end")
			}
			if t.Failed() {
				t.Fatalf("seed: agent dies %s call %d", when, at)
			}
		}
	}
}

func rotationCrash(t *testing.T, when string, at int) (crashed bool) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, 1)
		d := rotatingState("r1", "one", "alter")
		r.start(d)
		if err := r.settle(patience, "s", "t"); err != nil {
			t.Error(err)
		}
		db := r.id("p-db-1")
		clear(r.created)
		var calls, dead atomic.Int64
		var early notes
		r.watch(func(moment, method, object string) error {
			if dead.Load() > 0 {
				return errCrashed
			}
			early.add(r.tooEarly(moment, method, object))
			if moment == when && calls.Add(1) == int64(at) {
				dead.Store(1)
				r.crash()
				return errCrashed
			}
			return nil
		})
		r.set("value-2")
		if err := r.settle(time.Minute, "s", "t"); err != nil && dead.Load() == 0 {
			t.Error(err)
		}
		crashed = dead.Load() > 0
		r.stop()
		r.watch(func(moment, method, object string) error {
			early.add(r.tooEarly(moment, method, object))
			return nil
		})
		r.start(d)
		defer r.stop()
		if err := r.settle(patience, "s", "t"); err != nil {
			t.Error(err)
		}
		if err := r.check("value-2"); err != nil {
			t.Error(err)
		}
		if text := early.text(); text != "" {
			t.Error(text)
		}
		if r.id("p-db-1") != db {
			t.Error("the database was replaced")
		}
		for _, name := range rotatingNames {
			if r.created[name] != 1 {
				t.Errorf("%s was created %d times", name, r.created[name])
			}
		}
		if r.db.runs > 2 {
			t.Errorf("the command ran %d times", r.db.runs)
		}
	})
	return crashed
}

// TestRotationFails: while the command fails nothing is replaced, and what has to be made
// anew gets the old value, also from an agent that was started again.
func TestRotationFails(t *testing.T) {
	for _, after := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRotating(t, 1)
			d := rotatingState("r1", "one", "alter")
			r.start(d)
			defer func() { r.stop() }()
			if err := r.settle(patience, "s", "t"); err != nil {
				t.Fatal(err)
			}
			clear(r.created)
			r.db.broken = func() (bool, bool) { return !after, after }
			r.set("value-2")
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if len(r.created) > 0 {
				t.Errorf("containers were made: %v", r.created)
			}
			for _, stack := range []string{"s", "t"} {
				if text := r.conditions(stack); !strings.Contains(text, "RotationFailed") {
					t.Errorf("stack %s does not say that the rotation failed: %s", stack, text)
				}
			}
			r.stop()
			r.start(d)
			time.Sleep(10 * time.Second)
			if err := r.fake.Hand().Remove("q-app-1"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if !r.running("q-app-1") || r.value("q-app-1") != "value-1" {
				t.Errorf("app runs with %q", r.value("q-app-1"))
			}
			r.db.broken = nil
			if err := r.settle(time.Hour, "s", "t"); err != nil {
				t.Fatal(err)
			}
			if err := r.check("value-2"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRotationRefused: without a command nothing is done at all, by this agent or the next;
// taking the value back ends it, declaring a command as well.
func TestRotationRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, 1)
		d := rotatingState("r1", "one", "")
		r.start(d)
		defer func() { r.stop() }()
		if err := r.settle(patience, "s", "t"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		r.fake.ResetCalls()
		for range 2 {
			r.set("value-2")
			time.Sleep(time.Hour)
			synctest.Wait()
			text := r.conditions("s")
			for _, part := range []string{"RotationRefused", `service "db"`, "POSTGRES_PASSWORD", "services.db.rotation", "stack.yaml"} {
				if !strings.Contains(text, part) {
					t.Errorf("the condition does not name %s: %s", part, text)
				}
			}
			if got := r.value("p-db-1"); got != "value-1" {
				t.Errorf("the database's folder has %s", got)
			}
			if !strings.Contains(r.conditions("t"), "RotationRefused") {
				t.Error("the other stack does not say that it has an earlier value")
			}
			for _, method := range []string{"Create", "Start", "Stop", "Restart", "Remove", "Exec", "Rename"} {
				if n := r.fake.Calls()[method]; n > 0 {
					t.Errorf("%d calls of %s", n, method)
				}
			}
			r.stop()
			r.start(d)
		}
		r.set("value-1")
		if err := r.settle(patience, "s", "t"); err != nil {
			t.Fatal(err)
		}
		clear(r.created)
		r.set("value-2")
		r.loop.SetDesired(rotatingState("r2", "one", "alter"))
		time.Sleep(time.Millisecond)
		if err := r.settle(patience, "s", "t"); err != nil {
			t.Fatal(err)
		}
		if err := r.check("value-2"); err != nil {
			t.Error(err)
		}
		if r.created["p-db-1"] > 0 {
			t.Error("the database was replaced")
		}
	})
}

// TestRotationReboot: the old value goes with the host's memory. A database with a command
// starts and accepts the new one; without one, those who need the old one wait and say so.
func TestRotationReboot(t *testing.T) {
	for _, command := range []string{"alter", ""} {
		synctest.Test(t, func(t *testing.T) {
			r := newRotating(t, 1)
			d := rotatingState("r1", "one", command)
			r.start(d)
			defer func() { r.stop() }()
			if err := r.settle(patience, "s", "t"); err != nil {
				t.Fatal(err)
			}
			db := r.id("p-db-1")
			r.stop()
			r.vault.set("value-2")
			r.ram.lose()
			r.fake.Reboot()
			r.start(d)
			if command == "" {
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if !r.running("p-db-1") || r.running("p-api-1") || r.running("q-app-1") {
					t.Error("only the database can run")
				}
				if text := r.conditions("t"); !strings.Contains(text, "lost") || !strings.Contains(text, "RotationRefused") {
					t.Errorf("stack t does not say why: %s", text)
				}
				r.set("value-1")
			}
			if err := r.settle(time.Hour, "s", "t"); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"alter": "value-2", "": "value-1"}[command]
			if err := r.check(want); err != nil {
				t.Error(err)
			}
			if r.id("p-db-1") != db {
				t.Error("the database was replaced")
			}
		})
	}
}

// TestRotationHeld: a hold of the database's stack suspends the rotation, and those who use
// it in other stacks go on with the old value.
func TestRotationHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, 1)
		r.start(rotatingState("r1", "one", "alter"))
		defer r.stop()
		if err := r.settle(patience, "s", "t"); err != nil {
			t.Fatal(err)
		}
		r.cache.SetHold("s", &api.Hold{Why: "backup"})
		r.set("value-2")
		next := rotatingState("r2", "two", "alter")
		r.loop.SetDesired(next)
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.db.runs > 0 || r.value("q-app-1") != "value-1" || r.mark("q-app-1") != "MARK=two" {
			t.Errorf("%d runs, app has %s and %s", r.db.runs, r.value("q-app-1"), r.mark("q-app-1"))
		}
		r.cache.SetHold("s", nil)
		if err := r.settle(patience, "s", "t"); err != nil {
			t.Fatal(err)
		}
		if err := r.check("value-2"); err != nil {
			t.Error(err)
		}
	})
}
