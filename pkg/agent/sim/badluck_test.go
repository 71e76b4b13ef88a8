package sim_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestRandomRollback: revisions good and bad, crashes of agent and engine at random. Once
// it is left alone with a bad one, what is known to be good runs.
func TestRandomRollback(t *testing.T) {
	first := rand.Uint64N(1 << 40)
	for i := range 30 {
		seed := first + uint64(i)
		if !t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { randomRollback(t, seed) }) {
			t.Fatalf("failed with seed %d", seed)
		}
	}
}

func randomRollback(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, seed)
		w := &world{node: n, rng: rand.New(rand.NewPCG(seed, 3))}
		first := chain("r1", "img:1", "one")
		n.start(first)
		if err := n.known("r1"); err != nil {
			t.Fatal(err)
		}
		kinds := []string{"crashes", "unhealthy", "refused", "job"}
		w.wanted = bad("r2", kinds[w.rng.IntN(len(kinds))])
		n.loop.SetDesired(w.wanted)
		for range 1 + w.rng.IntN(6) {
			steps := []func() string{w.agentCrash, w.engineCrash, w.engineHang, w.badEvents}
			w.steps = append(w.steps, steps[w.rng.IntN(len(steps))]())
			time.Sleep(time.Duration(w.rng.IntN(4000)) * time.Millisecond)
		}
		w.leaveAlone()
		defer w.stop()
		time.Sleep(10 * time.Minute) // lost events are found by the next list
		if err := n.settleBack(time.Hour); err != nil {
			t.Fatalf("seed %d: %v\nsteps: %v", seed, err, w.steps)
		}
		if err := n.verify(first); err != nil {
			t.Fatalf("seed %d: %v\nsteps: %v", seed, err, w.steps)
		}
		n.mended(t)
	})
}

// TestBadLuckIsNoFailure: crashes and hangs of agent and engine, lost events and failing
// calls while a good revision is rolled out never send it back.
func TestBadLuckIsNoFailure(t *testing.T) {
	first := rand.Uint64N(1 << 40)
	for i := range 40 {
		seed := first + uint64(i)
		if !t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { badLuck(t, seed) }) {
			t.Fatalf("failed with seed %d", seed)
		}
	}
}

func badLuck(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, seed)
		w := &world{node: n, rng: rand.New(rand.NewPCG(seed, 4))}
		n.start(chain("r1", "img:1", "one"))
		if err := n.known("r1"); err != nil {
			t.Fatal(err)
		}
		w.wanted = chain("r2", "img:2", "two")
		n.loop.SetDesired(w.wanted)
		for range 1 + w.rng.IntN(6) {
			time.Sleep(time.Duration(w.rng.IntN(4000)) * time.Millisecond)
			steps := []func() string{w.agentCrash, w.engineCrash, w.engineHang, w.badEvents, w.badCalls}
			w.steps = append(w.steps, steps[w.rng.IntN(len(steps))]())
		}
		w.leaveAlone()
		defer w.stop()
		time.Sleep(10 * time.Minute) // lost events are found by the next list
		if err := n.known("r2"); err != nil {
			t.Fatalf("seed %d: %v\nsteps: %v\n%s", seed, err, w.steps, n.report.explain([]string{"s"}))
		}
		if err := n.verify(w.wanted); err != nil {
			t.Fatalf("seed %d: %v\nsteps: %v", seed, err, w.steps)
		}
		if count := n.report.count("quarantine-revision"); count > 0 {
			t.Fatalf("seed %d: sent back %d times\nsteps: %v", seed, count, w.steps)
		}
	})
}
