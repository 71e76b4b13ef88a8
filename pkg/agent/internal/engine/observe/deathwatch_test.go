//go:build linux

package observe_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/api"
)

// withPids is a fake engine whose containers have real processes.
type withPids struct {
	*enginetest.Fake
	mu   sync.Mutex
	pids map[string]int
}

func (w *withPids) List(ctx context.Context) (engine.List, error) {
	list, err := w.Fake.List(ctx)
	for _, c := range list.Containers {
		w.setPid(c)
	}
	return list, err
}

func (w *withPids) InspectContainer(ctx context.Context, id string) (*api.Container, error) {
	c, err := w.Fake.InspectContainer(ctx, id)
	if err == nil {
		w.setPid(c)
	}
	return c, err
}

func (w *withPids) setPid(c *api.Container) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.Pid != 0 && w.pids[c.Name] != 0 {
		c.Pid = w.pids[c.Name]
	}
}

// deathRig runs a cache, in real time, on a fake engine and a made up /proc.
type deathRig struct {
	*observe.Cache
	engine *withPids
	proc   string
	rings  *rings
}

func newDeathRig(t *testing.T) *deathRig {
	t.Helper()
	r := &deathRig{engine: &withPids{Fake: enginetest.New(1), pids: map[string]int{}}, proc: t.TempDir(), rings: &rings{}}
	r.engine.AddImage(image, api.Image{})
	r.Cache = observe.New(r.engine, observe.Config{ProcRoot: r.proc})
	r.Subscribe(r.rings.ring)
	runUntilEnd(t, r.Cache)
	await(t, "the engine", func() bool { up, _, _ := r.Connected(); return up })
	return r
}

// run makes a container with a process whose cgroup is layout with the id in it.
func (r *deathRig) run(t *testing.T, name, layout string) (id string, process *exec.Cmd) {
	t.Helper()
	process = exec.CommandContext(t.Context(), "sleep", "1000")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Both fail for a process that the test has ended.
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	hand := r.engine.Hand()
	id, err := hand.Create(request(name, "p"))
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(r.proc, strconv.Itoa(process.Process.Pid))
	if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(filepath.Join(folder, "cgroup"), fmt.Appendf(nil, layout, id), 0o600)); err != nil {
		t.Fatal(err)
	}
	r.engine.mu.Lock()
	r.engine.pids[name] = process.Process.Pid
	r.engine.mu.Unlock()
	if err := hand.Start(id); err != nil {
		t.Fatal(err)
	}
	await(t, "the container runs", func() bool {
		c := r.Snapshot().Containers[id]
		return c != nil && c.Pid == process.Process.Pid
	})
	return id, process
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("never saw: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

func end(t *testing.T, process *exec.Cmd) {
	t.Helper()
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait() // it was killed
}

func TestDeathIsSeenBeforeTheEngineTells(t *testing.T) {
	layouts := map[string]string{
		"v1 cgroupfs": "12:memory:/docker/%s\n1:name=systemd:/docker/%[1]s\n",
		"v2 cgroupfs": "0::/docker/%s\n",
		"v2 systemd":  "0::/system.slice/docker-%s.scope\n",
		"v2 nested":   "0::/../docker-%s.scope/init\n",
	}
	for name, layout := range layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newDeathRig(t)
			id, process := r.run(t, "web", layout)
			r.rings.take()
			end(t, process)
			await(t, "the container is dead", func() bool {
				return r.Snapshot().Containers[id].Facts.Dead && !r.Snapshot().Containers[id].Facts.DeadSince.IsZero()
			})
			// Bells ring after the snapshot is there.
			await(t, "the bell", func() bool { return slices.Equal(r.rings.take(), []string{"p"}) })
			if got := r.Snapshot().Containers[id].State; got != api.StateRunning {
				t.Fatalf("state is %s; the engine can't know yet", got)
			}
			// The engine learns of it late and without an event: the cache has to keep asking.
			r.engine.DropEvents(1000)
			before := r.engine.Calls()["InspectContainer"]
			await(t, "repeated inspections", func() bool { return r.engine.Calls()["InspectContainer"] >= before+3 })
			if err := r.engine.Hand().End(id, 137); err != nil {
				t.Fatal(err)
			}
			await(t, "the engine's own word", func() bool {
				c := r.Snapshot().Containers[id]
				return c.State == api.StateExited && !c.Facts.Dead && c.Facts.DeadSince.IsZero()
			})
		})
	}
}

func TestDeadUntilTheNextStart(t *testing.T) {
	r := newDeathRig(t)
	id, process := r.run(t, "web", "0::/docker/%s\n")
	end(t, process)
	await(t, "the container is dead", func() bool { return r.Snapshot().Containers[id].Facts.Dead })
	if err := r.Refresh(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if !r.Snapshot().Containers[id].Facts.Dead {
		t.Error("an inspection that still says running cleared the death")
	}
	r.engine.mu.Lock()
	r.engine.pids["web"] = os.Getpid()
	r.engine.mu.Unlock()
	if err := errors.Join(r.engine.Hand().End(id, 1), r.engine.Hand().Start(id)); err != nil {
		t.Fatal(err)
	}
	await(t, "the next start", func() bool {
		c := r.Snapshot().Containers[id]
		return c.Pid == os.Getpid() && !c.Facts.Dead
	})
}

// TestForeignProcesses has the pid of a container belong to something else, as it does
// where the agent is in another pid namespace, or where the number was given away.
func TestForeignProcesses(t *testing.T) {
	r := newDeathRig(t)
	foreign, process := r.run(t, "foreign", "0::/docker/somebody-else%.0s\n")
	own, second := r.run(t, "own", "0::/docker/%s\n")
	end(t, process)
	end(t, second)
	await(t, "the other container is dead", func() bool { return r.Snapshot().Containers[own].Facts.Dead })
	if r.Snapshot().Containers[foreign].Facts.Dead {
		t.Error("a process of another cgroup was taken for the container's")
	}
}

func TestDescriptorsAreClosed(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		pidfds := 0
		for _, e := range entries {
			if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && target == "anon_inode:[pidfd]" {
				pidfds++
			}
		}
		return pidfds
	}
	before := count()
	t.Run("cache", func(t *testing.T) {
		r := newDeathRig(t)
		for i := range 5 {
			id, process := r.run(t, fmt.Sprintf("c%d", i), "0::/docker/%s\n")
			switch i {
			case 0:
				end(t, process)
				await(t, "a death", func() bool { return r.Snapshot().Containers[id].Facts.Dead })
			case 1:
				if err := r.engine.Hand().Remove(id); err != nil {
					t.Fatal(err)
				}
				await(t, "a removal", func() bool { return r.Snapshot().Containers[id] == nil })
			}
		}
		// exec.Cmd holds a pidfd of its own for each process that was not awaited.
		await(t, "pidfds for three containers and four commands", func() bool { return count()-before == 3+4 })
	})
	if got := count(); got != before {
		t.Errorf("%d pidfds are open after the end, want %d", got, before)
	}
}

// TestDeathBeatsTheEvent compares with the engine of this machine. This process may be held up
// in any single race; that no word of the engine is needed is shown by the tests above.
func TestDeathBeatsTheEvent(t *testing.T) {
	docker := enginetest.FindDocker(t)
	ref := "ktrdr.test/observe-death:1"
	docker.LoadImage(t, ref)
	client, err := engine.New(engine.Config{Host: docker.Host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	cache := observe.New(client, observe.Config{})
	runUntilEnd(t, cache)
	ctx := t.Context()
	req := request(fmt.Sprintf("observe-death-%d", os.Getpid()), "observe-death")
	req.Spec.Image = ref
	id, err := client.Create(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = docker.RemoveContainer(context.WithoutCancel(ctx), id) })
	var ahead []time.Duration
	for range 5 {
		ahead = append(ahead, deathRace(ctx, t, client, cache, id))
	}
	t.Logf("death was known this much before the die event: %v", ahead)
	if slices.Max(ahead) < 0 {
		t.Error("the die event always came before the death was known")
	}
}

// deathRace kills the container's process and returns by how much the cache was faster
// than the engine's event.
func deathRace(ctx context.Context, t *testing.T, client *engine.Client, cache *observe.Cache, id string) time.Duration {
	t.Helper()
	if err := errors.Join(client.Start(ctx, id), cache.Refresh(ctx, id)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, _ := client.Events(ctx, time.Now())
	die := make(chan time.Time, 1)
	go func() {
		for ev := range events {
			if ev.ID == id && ev.Action == "die" {
				die <- time.Now()
				return
			}
		}
	}()
	pid := cache.Snapshot().Containers[id].Pid
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var dead time.Time
	await(t, "death", func() bool {
		c := cache.Snapshot().Containers[id]
		dead = c.Facts.DeadSince
		return c.Facts.Dead && !dead.IsZero() || c.State == api.StateExited
	})
	told := <-die
	lead := told.Sub(dead)
	if dead.IsZero() { // the engine's word came first
		lead = -time.Nanosecond
	}
	await(t, "the engine's own word", func() bool {
		c := cache.Snapshot().Containers[id]
		return c.State == api.StateExited && !c.Facts.Dead && c.ExitCode == 137
	})
	return lead
}
