package controllers_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// followed is a person who follows two nodes, b at the first controller and c at the second.
type followed struct {
	*world
	*person

	b, c         *talker
	logs, events *process
	// watch is status --watch for programs, lines for people.
	watch, lines *process
	silent       []func() // end the talkers
	pushed       []string // revisions
}

func newFollowed(t *testing.T) *followed {
	t.Helper()
	w := newWorld(t)
	first := w.forge.push("the first", state())
	w.c[0].start()
	w.c[1].start()
	f := &followed{world: w, person: newPerson(t, w), b: newTalker("b"), c: newTalker("c")}
	for i, k := range []*talker{f.b, f.c} {
		w.join(k.Agent, w.c[i])
		await(t, k.Name+" is connected", func() bool { return len(w.at(w.c[i])) == 1 })
	}
	for _, c := range w.c {
		fleet := w.fleet(c)
		await(t, "each controller knows both nodes and what they are to have", func() bool {
			known, err := fleet.GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{})
			return err == nil && known.GetHead().GetRevision() == first && w.connected(c) == 2
		})
	}
	// There is one way only, so it is known whom they ask.
	f.link(w, 0)
	f.logs = f.run("logs", "-f", "workers", "--tail", "-1", "--node", "b", "--node", "c")
	f.events = f.run("events", "-f")
	f.watch, f.lines = f.run("status", "--watch", "-o", "json"), f.run("status", "--watch")
	await(t, "all ask the first controller", func() bool { return f.links[0].served() >= 4 })
	f.sees("at first", first)
	f.link(w, 1)
	f.silent = append(f.silent, f.b.talk(t), f.c.talk(t))
	f.hear("at first", 50, f.b, f.c)
	return f
}

// hear waits until what talkers have said from now on is told: so many lines, and an event.
func (f *followed) hear(when string, lines int, from ...*talker) (took time.Duration) {
	f.world.t.Helper()
	began := time.Now()
	for _, k := range from {
		line, event := k.said()
		await(f.world.t, "lines of "+k.Name+" are told "+when, func() bool { return slices.Contains(heard(f.logs, "lines")[k.Name], line+lines) })
		await(f.world.t, "events of "+k.Name+" are told "+when, func() bool { return slices.Contains(heard(f.events, "events")[k.Name], event+1) })
	}
	took = time.Since(began)
	f.world.t.Logf("%s: heard after %s", when, took.Round(10*time.Millisecond))
	return took
}

// complete: each line and each event came once, in order, with its node.
func (f *followed) complete() {
	t := f.world.t
	t.Helper()
	for _, stop := range f.silent {
		stop()
	}
	for _, k := range []*talker{f.b, f.c} {
		lines, events := k.said()
		for kind, last := range map[string]int{"lines": lines, "events": events} {
			p := f.logs
			if kind == "events" {
				p = f.events
			}
			await(t, "the last of the "+kind+" is told", func() bool { return slices.Contains(heard(p, kind)[k.Name], last) })
			got := heard(p, kind)[k.Name]
			for i := range last {
				if i >= len(got) || got[i] != i+1 {
					t.Errorf("%s: of %d %s, number %d is not at its place: %v", k.Name, last, kind, i+1, got[max(0, i-3):min(len(got), i+4)])
					break
				}
			}
			if len(got) != last {
				t.Errorf("%s: %d %s were told, not %d", k.Name, len(got), kind, last)
			}
		}
		t.Logf("%s said %d lines and %d events", k.Name, lines, events)
	}
	for _, p := range []*process{f.logs, f.events} {
		if strings.Contains(p.log.all(), "left out") {
			t.Errorf("something was left out:\n%s", p.log.tail())
		}
	}
}

// TestFollowersGoOn: a person follows logs and events of nodes at two controllers, by a name that
// both have. The controller that is asked is killed, then the link to the other one is cut: they
// go on at the one that is left. Who watches the status is told of each loss, and then sees what is.
func TestFollowersGoOn(t *testing.T) {
	f := newFollowed(t)
	if c := f.world.c; !slices.Equal(f.world.at(c[0]), []string{"b"}) || !slices.Equal(f.world.at(c[1]), []string{"c"}) {
		t.Fatalf("the nodes are at %v and %v", f.world.at(c[0]), f.world.at(c[1]))
	}
	f.world.c[0].kill()
	f.sees("after the death of the controller that was asked", f.push("the second"))
	f.hear("after the death of the controller that was asked", 50, f.b, f.c)
	if f.links[1].served() == 0 {
		t.Error("nobody asked the other controller")
	}
	f.world.c[0].start()
	f.links[1].cut()
	third := f.push("the third")
	if took := f.hear("after the link was cut", 50, f.b, f.c); took > 40*time.Second {
		t.Errorf("a link that carries nothing was noticed after %s", took)
	}
	f.sees("after the link was cut", third)
	f.links[1].mend()
	f.complete()
	f.current()
}

// TestPeerFails: the controller of one node hangs for longer than its lease and comes back, hangs
// until its node goes away, and dies, while a person follows through the other one. The other node
// is told of all the while.
func TestPeerFails(t *testing.T) {
	f := newFollowed(t)
	here, peer := f.world.c[0], f.world.c[1]

	peer.hang()
	f.hear("while the other controller hangs", 50, f.b)
	await(t, "it counts as gone", func() bool { return f.world.connected(here) == 1 })
	peer.wake()
	f.hear("when the other controller goes on", 50, f.b, f.c)

	peer.hang()
	f.hear("while it hangs again", 50, f.b)
	f.world.send("c", here)
	if took := f.hear("from a node that left a controller that hangs", 50, f.b, f.c); took > 20*time.Second {
		t.Errorf("a node that left a controller that hangs was heard after %s", took)
	}
	peer.wake()
	await(t, "it is ready again", peer.ready)

	f.world.send("c", peer)
	f.hear("from a node that went back", 50, f.b, f.c)
	peer.kill()
	f.hear("after the death of the other controller", 50, f.b, f.c)
	f.complete()
}
