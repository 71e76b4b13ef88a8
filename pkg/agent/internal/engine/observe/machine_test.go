package observe_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/api"
)

// machineRelist is short against the time that the machine gives the cache at its end.
const machineRelist = time.Minute

// TestAnyHistoryEndsInTheTruth lets engine, people and faults do anything: once it is
// quiet, the snapshot is what the engine holds. Without lost events it is so in seconds,
// else after a relist.
func TestAnyHistoryEndsInTheTruth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Hiding everything but TB keeps rapid from asking for the deadline, which has no
		// meaning inside a bubble.
		rapid.Check(struct{ testing.TB }{t}, func(rt *rapid.T) {
			m := newMachine(t, rt)
			defer m.stop()
			rt.Repeat(map[string]func(*rapid.T){
				"run":      m.run,
				"act":      m.act,
				"change":   m.change,
				"network":  m.network,
				"volume":   m.volume,
				"events":   m.events,
				"crash":    m.crash,
				"freeze":   m.freeze,
				"refresh":  m.refresh,
				"time":     m.time,
				"checking": m.check,
			})
			m.check(rt)
		})
	})
}

type machine struct {
	*rig
	stop  func()
	names int
	// lost says that events were lost since the last check.
	lost bool
}

func newMachine(t *testing.T, rt *rapid.T) *machine {
	r := newRig(observe.Config{Relist: machineRelist, UnresponsiveRetry: 2 * time.Second})
	m := &machine{rig: r}
	for range rapid.IntRange(0, 3).Draw(rt, "containers before") {
		m.run(rt)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	m.stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	}
	return m
}

func (m *machine) run(rt *rapid.T) {
	m.names++
	req := request(fmt.Sprintf("c%d", m.names), rapid.SampledFrom([]string{"", "p", "q"}).Draw(rt, "project"))
	req.Spec.Restart.Name = rapid.SampledFrom([]string{"no", "always", "unless-stopped"}).Draw(rt, "restart")
	if rapid.Bool().Draw(rt, "in a network") {
		req.Spec.Endpoints = []api.Endpoint{{Network: "net"}}
	}
	if rapid.Bool().Draw(rt, "healthcheck") {
		req.Spec.Healthcheck = &api.Healthcheck{Test: []string{"CMD", "x"}, Interval: 5 * time.Second, Retries: 1}
		m.fake.SetHealth(req.Name, rapid.SliceOfN(rapid.Bool(), 1, 4).Draw(rt, "health")...)
	}
	id, err := m.hand.Create(req)
	if err != nil {
		rt.Fatal(err)
	}
	if rapid.Bool().Draw(rt, "started") {
		// Its network may be missing.
		m.lost = m.hand.Start(id) != nil || m.lost
	}
}

// act does something to a container; what is impossible in its state is refused.
func (m *machine) act(rt *rapid.T) {
	object, ok := m.draw(rt)
	if !ok {
		return
	}
	verbs := map[string]func() error{
		"start": func() error {
			err := m.hand.Start(object)
			// Docker sends no event for a start that failed.
			m.lost = m.lost || err != nil
			return err
		},
		"stop":    func() error { return m.hand.Stop(object, time.Second) },
		"kill":    func() error { return m.hand.Kill(object) },
		"end":     func() error { return m.hand.End(object, rapid.IntRange(0, 2).Draw(rt, "code")) },
		"remove":  func() error { return m.hand.Remove(object) },
		"pause":   func() error { return m.hand.Pause(object) },
		"unpause": func() error { return m.hand.Unpause(object) },
		"connect": func() error {
			// Docker sends no event when the container does not run.
			m.lost = true
			return m.hand.Connect("net", object, "alias")
		},
		"disconnect": func() error { return m.hand.Disconnect("net", object) },
		"rename": func() error {
			m.names++
			return m.hand.Rename(object, fmt.Sprintf("c%d", m.names))
		},
	}
	_ = verbs[rapid.SampledFrom(keys(verbs)).Draw(rt, "verb")]()
}

// change does what the agent does itself.
func (m *machine) change(rt *rapid.T) {
	object, ok := m.draw(rt)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(rt.Context(), time.Second) // it may be frozen
	defer cancel()
	verbs := map[string]func() error{
		"start":  func() error { return m.fake.Start(ctx, object) },
		"stop":   func() error { return m.fake.Stop(ctx, engine.StopRequest{ID: object}) },
		"rename": func() error { m.names++; return m.fake.Rename(ctx, object, fmt.Sprintf("c%d", m.names)) },
		"remove": func() error { return m.fake.Remove(ctx, object) },
	}
	verb := verbs[rapid.SampledFrom(keys(verbs)).Draw(rt, "verb")]
	_ = m.Change(ctx, object, func() (string, error) { return object, verb() }) // may be refused or time out
}

func (m *machine) draw(rt *rapid.T) (string, bool) {
	var ids []string
	for _, c := range m.fake.Truth().Containers {
		ids = append(ids, c.ID)
	}
	if len(ids) == 0 {
		return "", false
	}
	return rapid.SampledFrom(ids).Draw(rt, "container"), true
}

func (m *machine) network(rt *rapid.T) {
	if rapid.Bool().Draw(rt, "create") {
		_, _ = m.hand.CreateNetwork(api.NetworkSpec{Name: "net", Labels: map[string]string{"n": fmt.Sprint(m.names)}})
		return
	}
	// Docker sends no event when it can't restart a container whose network is gone.
	m.lost = m.hand.RemoveNetwork("net") == nil || m.lost
}

func (m *machine) volume(rt *rapid.T) {
	if rapid.Bool().Draw(rt, "create") {
		_ = m.hand.CreateVolume(api.Volume{Name: "vol", Labels: map[string]string{"n": fmt.Sprint(m.names)}})
		return
	}
	_ = m.hand.RemoveVolume("vol")
}

func (m *machine) events(rt *rapid.T) {
	n := rapid.IntRange(1, 20).Draw(rt, "events")
	switch rapid.SampledFrom([]string{"drop", "repeat", "shuffle", "heal"}).Draw(rt, "fault") {
	case "drop":
		m.lost = true
		m.fake.DropEvents(n)
	case "repeat":
		m.fake.RepeatEvents(n)
	case "shuffle":
		m.fake.ShuffleEvents(n)
	case "heal":
		m.fake.HealEvents()
	}
}

func (m *machine) crash(rt *rapid.T) {
	m.fake.Crash()
	m.time(rt)
	m.fake.Recover(rapid.SampledFrom([]enginetest.Boot{enginetest.StopAll, enginetest.LiveRestore}).Draw(rt, "boot"))
}

func (m *machine) freeze(rt *rapid.T) {
	if object, ok := m.draw(rt); ok {
		m.fake.Freeze(object)
		m.lost = true // a list under way may give the container up after it thawed
	}
}

func (m *machine) refresh(rt *rapid.T) {
	if object, ok := m.draw(rt); ok {
		_ = m.Refresh(rt.Context(), object) // may time out
	}
}

func (m *machine) time(rt *rapid.T) {
	time.Sleep(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 200 * time.Millisecond, 3 * time.Second, time.Minute}).Draw(rt, "pass"))
}

// check heals all faults and compares.
func (m *machine) check(rt *rapid.T) {
	m.fake.HealEvents()
	patience := 10 * time.Second
	if m.lost {
		patience = 2 * machineRelist
	}
	for _, c := range m.fake.Truth().Containers {
		m.fake.Thaw(c.ID)
		if seen := m.Snapshot().Containers[c.ID]; seen == nil || seen.Facts.Unresponsive {
			// Its inspection may be waiting for the slow retry.
			patience = 2 * machineRelist
		}
	}
	settle(patience)
	m.lost = false
	if diff := m.difference(); diff != "" {
		rt.Fatalf("snapshot differs from the engine (-engine +snapshot):\n%s", diff)
	}
	if up, _, err := m.Connected(); !up {
		rt.Fatalf("not connected: %v", err)
	}
}

func keys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
