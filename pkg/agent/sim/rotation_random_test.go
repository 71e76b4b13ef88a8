package sim_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestRotationRandom lets values change and go back, commands fail before or after their
// effect, agents and hosts die, and containers be removed by hand. Nobody ever gets a value
// that the database did not accept, and in the end everybody has the newest.
//
// Seeds are replayed as those of TestRandom.
func TestRotationRandom(t *testing.T) { seeds(t, 80, rotationRandom) }

func rotationRandom(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, seed)
		rng := rand.New(rand.NewPCG(seed, 1))
		revision := "r0"
		r.start(rotatingState(revision, "one", "alter"))
		if err := r.settle(patience, "s", "t"); err != nil {
			t.Fatal(err)
		}
		var steps []string
		for range 3 + rng.IntN(10) {
			steps = append(steps, r.randomStep(rng, &revision))
			time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
		}
		r.db.mu.Lock()
		r.db.broken = nil
		r.db.mu.Unlock()
		r.watch(nil)
		last := rotatingState("last", "last", "alter")
		r.loop.SetDesired(last)
		value := fmt.Sprintf("value-%d", rng.IntN(3))
		r.set(value)
		defer func() { r.stop() }()
		if err := r.settle(time.Hour, "s", "t"); err != nil {
			t.Fatalf("seed %d: %v\nsteps: %v", seed, err, steps)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := r.check(value); err != nil {
			t.Fatalf("seed %d: %v\nsteps: %v", seed, err, steps)
		}
	})
}

func (r *rotating) randomStep(rng *rand.Rand, revision *string) string {
	switch rng.IntN(9) {
	case 0, 1, 2:
		value := fmt.Sprintf("value-%d", rng.IntN(4))
		r.set(value)
		return value
	case 3:
		odds := rng.IntN(4)
		r.db.mu.Lock()
		defer r.db.mu.Unlock()
		var mu sync.Mutex
		r.db.broken = func() (bool, bool) {
			mu.Lock()
			defer mu.Unlock()
			return odds&1 > 0, odds&2 > 0
		}
		return fmt.Sprintf("broken %d", odds)
	case 4:
		r.stop()
		r.start(rotatingState(*revision, "one", "alter"))
		return "agent restarts"
	case 5:
		names := append([]string{"p-db-1"}, rotatingNames...)
		name := names[rng.IntN(len(names))]
		return fmt.Sprintf("remove %s: %v", name, r.fake.Hand().Remove(name))
	case 6:
		*revision += "+"
		command := []string{"alter", ""}[rng.IntN(2)]
		r.loop.SetDesired(rotatingState(*revision, fmt.Sprint(rng.IntN(3)), command))
		return "revision with command " + command
	case 7:
		r.stop()
		r.ram.lose()
		r.fake.Reboot()
		r.start(rotatingState(*revision, "one", "alter"))
		return "reboot"
	default:
		n, at := 0, 1+rng.IntN(30)
		r.watch(func(string, string, string) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if n++; n == at {
				return errFault
			}
			return nil
		})
		return fmt.Sprintf("call %d fails", at)
	}
}
