package sim_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/api"
)

// TestRandom lets changes, hand-made damage, faults and crashes of agent and engine fall
// on a node at random. Once it is left alone it converges, with no duplicates.
//
// KTRDR_SIM_SEED replays one seed; KTRDR_SIM_RUNS sets how many are tried.
func TestRandom(t *testing.T) {
	seeds(t, 150, randomRun)
}

// seeds tries runs seeds, or the one or as many as the environment says.
func seeds(t *testing.T, runs int, try func(t *testing.T, seed uint64)) {
	t.Helper()
	if text := os.Getenv("KTRDR_SIM_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		try(t, seed)
		return
	}
	if text := os.Getenv("KTRDR_SIM_RUNS"); text != "" {
		var err error
		if runs, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	first := rand.Uint64N(1 << 40)
	for i := range runs {
		seed := first + uint64(i)
		if !t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { try(t, seed) }) {
			t.Fatalf("replay with KTRDR_SIM_SEED=%d", seed)
		}
	}
}

func randomRun(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{node: newNode(t, seed), rng: rand.New(rand.NewPCG(seed, 1))}
		w.wanted = w.drawState()
		w.start(w.wanted)
		for range 4 + w.rng.IntN(12) {
			w.step()
			time.Sleep(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
		}
		w.leaveAlone()
		defer w.stop()
		if err := w.settle(time.Hour, "s"); err != nil {
			t.Fatalf("seed %d: %v\nsteps: %v", seed, err, w.steps)
		}
		time.Sleep(10 * time.Minute) // and stays so
		if err := w.settle(time.Minute, "s"); err != nil {
			t.Fatalf("seed %d: does not stay converged: %v\nsteps: %v", seed, err, w.steps)
		}
		if err := w.verify(w.wanted); err != nil {
			t.Fatalf("seed %d: %v\nsteps: %v", seed, err, w.steps)
		}
		if w.foreign != "" && !w.exists(w.foreign) {
			t.Fatalf("seed %d: the foreign container is gone\nsteps: %v", seed, w.steps)
		}
	})
}

// world is a node on which bad luck falls.
type world struct {
	*node
	rng     *rand.Rand
	wanted  *api.Desired
	steps   []string
	foreign string
	rev     int
}

func (w *world) drawState() *api.Desired {
	w.rev++
	image := []string{"img:1", "img:2"}[w.rng.IntN(2)]
	d := chain(fmt.Sprintf("r%d", w.rev), image, strconv.Itoa(w.rng.IntN(3)))
	stack := &d.Stacks[0]
	if w.rng.IntN(3) == 0 { // without the last service
		stack.Services = stack.Services[:len(stack.Services)-1]
	}
	if w.rng.IntN(4) == 0 {
		stack.Networks[0].Internal = true
	}
	return d
}

func (w *world) step() {
	kinds := []func() string{
		w.change, w.change, w.damage, w.damage, w.damage, w.agentCrash, w.engineCrash, w.engineHang,
		w.badEvents, w.badCalls, w.addForeign, w.reboot, w.rotate,
	}
	w.steps = append(w.steps, kinds[w.rng.IntN(len(kinds))]())
}

func (w *world) change() string {
	w.wanted = w.drawState()
	w.loop.SetDesired(w.wanted)
	return "change to " + w.wanted.Revision
}

// damage does by hand what people do. An error means that there was nothing to damage.
func (w *world) damage() string {
	names := []string{"p-api-1", "p-db-1", "p-migrate-1", "p-side-1", "p-worker-1"}
	name := names[w.rng.IntN(len(names))]
	hand := w.fake.Hand()
	what := w.rng.IntN(8)
	var err error
	switch what {
	case 0:
		err = hand.Remove(name)
	case 1:
		err = hand.Stop(name, time.Second)
	case 2:
		err = hand.Kill(name)
	case 3:
		err = hand.Rename(name, name+"-by-hand")
	case 4:
		err = hand.Pause(name)
	case 5:
		err = hand.Disconnect("p_default", name)
	case 6:
		err = hand.End(name, 1)
	case 7:
		err = hand.RemoveNetwork("p_default")
	}
	return fmt.Sprintf("damage %d to %s (%v)", what, name, err)
}

func (w *world) agentCrash() string {
	w.stop()
	time.Sleep(time.Duration(w.rng.IntN(5000)) * time.Millisecond)
	w.start(w.wanted)
	return "agent crash"
}

func (w *world) engineCrash() string {
	w.fake.Crash()
	time.Sleep(time.Duration(w.rng.IntN(5000)) * time.Millisecond)
	boot := enginetest.Boot(w.rng.IntN(2))
	w.fake.Recover(boot)
	return fmt.Sprintf("engine crash, boot %d", boot)
}

func (w *world) engineHang() string {
	w.fake.Hang()
	time.Sleep(time.Duration(w.rng.IntN(20)) * time.Second)
	w.fake.Resume()
	return "engine hang"
}

func (w *world) badEvents() string {
	n := 1 + w.rng.IntN(5)
	switch w.rng.IntN(3) {
	case 0:
		w.fake.DropEvents(n)
		return fmt.Sprintf("drop %d events", n)
	case 1:
		w.fake.RepeatEvents(n)
		return fmt.Sprintf("repeat %d events", n)
	default:
		w.fake.ShuffleEvents(n)
		return fmt.Sprintf("shuffle %d events", n)
	}
}

// reboot restarts the host: agent, engine and memory.
func (w *world) reboot() string {
	w.stop()
	w.ram.lose()
	w.fake.Reboot()
	w.start(w.wanted)
	return "reboot"
}

// rotate changes the secret, or takes the provider away.
func (w *world) rotate() string {
	value := []string{"", "value-1", "value-2", "value-3"}[w.rng.IntN(4)]
	w.vault.set(value)
	w.loop.Ring("")
	return "secret is " + value
}

var errFault = errors.New("planted fault")

// badCalls makes every few calls fail for a while, before or after their effect.
func (w *world) badCalls() string {
	odds := 2 + w.rng.IntN(6)
	until := time.Now().Add(time.Duration(w.rng.IntN(5000)) * time.Millisecond)
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 2))
	var mu sync.Mutex
	w.fault.Store(new(fault(func(_, _, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		if time.Now().Before(until) && rng.IntN(odds) == 0 {
			return errFault
		}
		return nil
	})))
	return fmt.Sprintf("one call in %d fails", odds)
}

func (w *world) addForeign() string {
	if w.foreign != "" {
		return "nothing"
	}
	id, err := w.fake.Hand().Run(foreignRequest())
	if err != nil {
		return "no foreign container: " + err.Error()
	}
	w.foreign = id
	return "foreign container"
}

func (w *world) exists(id string) bool {
	for _, c := range w.fake.Truth().Containers {
		if c.ID == id {
			return true
		}
	}
	return false
}

func (w *world) leaveAlone() {
	w.fault.Store(nil)
	w.fake.HealEvents()
	if w.vault.value == "" {
		w.vault.set("value-1")
		w.loop.Ring("")
	}
}
