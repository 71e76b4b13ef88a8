package controllers_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// follower keeps what one caller of Events was told.
type follower struct {
	mu     sync.Mutex
	events []string
}

func (f *follower) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events)
}

// line is an event of a node as one word; those that a controller tells by itself are left out.
func line(e *ktrdrv1.FleetEvent) string {
	if e.GetNode() == "" && e.GetEvent().GetReason() != "ConnectedElsewhere" {
		return ""
	}
	return strings.TrimSpace(e.GetNode() + ": " + e.GetEvent().GetReason() + " " + e.GetEvent().GetMessage())
}

func (w *world) past(c *controller) []string {
	w.t.Helper()
	stream, err := w.fleet(c).Events(w.t.Context(), &ktrdrv1.EventsRequest{Limit: 1000})
	var out []string
	for _, e := range collect(w.t, stream, err) {
		if text := line(e); text != "" {
			out = append(out, text)
		}
	}
	return out
}

func (w *world) follow(c *controller) *follower {
	w.t.Helper()
	f := &follower{}
	ctx, cancel := context.WithCancel(w.t.Context())
	stream, err := w.fleet(c).Events(ctx, &ktrdrv1.EventsRequest{Limit: 1000, Follow: true})
	must(w.t, err)
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			e, err := stream.Recv()
			if err != nil {
				return
			}
			if text := line(e); text != "" {
				f.mu.Lock()
				f.events = append(f.events, text)
				f.mu.Unlock()
			}
		}
	})
	w.t.Cleanup(func() { cancel(); reading.Wait() })
	return f
}

// say has every agent tell of something and returns the lines that have to come of it.
func (w *world) say(message string) []string {
	var out []string
	for name, a := range w.agents {
		a.Event(message)
		out = append(out, name+": Test "+message)
	}
	return out
}

// wantOnce waits until all lines are there, and wants none twice.
func (w *world) wantOnce(what string, lines []string, have func() []string) {
	w.t.Helper()
	await(w.t, what, func() bool {
		got := have()
		return !slices.ContainsFunc(lines, func(l string) bool { return !slices.Contains(got, l) })
	})
	got := have()
	for _, l := range lines {
		if n := len(got) - len(slices.DeleteFunc(slices.Clone(got), func(g string) bool { return g == l })); n != 1 {
			w.t.Errorf("%s: %q came %d times", what, l, n)
		}
	}
}

// TestEventsOfAllControllers: whichever controller is asked, it tells what nodes at any of them
// say, before now and from now on, each once, also when one dies and its nodes move.
func TestEventsOfAllControllers(t *testing.T) {
	w := newWorld(t)
	w.forge.push("the first", state())
	w.c[0].start()
	w.c[1].start()
	w.fill(nil)
	w.settle(w.c[0])
	w.settle(w.c[1])
	if here, there := len(w.at(w.c[0])), len(w.at(w.c[1])); here == 0 || there == 0 {
		t.Fatalf("%d agents are at one controller, %d at the other", here, there)
	}
	lines := w.say("one")
	for _, c := range w.c {
		w.wantOnce("before now", lines, func() []string { return w.past(c) })
	}
	followed := w.follow(w.c[0])
	w.wantOnce("before now, to follow", lines, followed.all)
	lines = append(lines, w.say("two")...)
	w.wantOnce("from now on", lines, followed.all)

	w.c[1].kill()
	await(t, "all agents are at the other controller", func() bool { return len(w.at(w.c[0])) == len(w.agents) })
	lines = append(lines, w.say("three")...)
	w.wantOnce("after a controller died", lines, followed.all)
	w.wantOnce("before now, after a controller died", lines, func() []string {
		return slices.DeleteFunc(w.past(w.c[0]), func(l string) bool { return strings.Contains(l, "ConnectedElsewhere") })
	})

	// The one that comes back has no agent and tells of all.
	w.c[1].start()
	await(t, "it is ready", w.c[1].ready)
	w.wantOnce("at the one that came back", lines, func() []string { return w.past(w.c[1]) })

	// Both were restarted: agents bring again what they have.
	w.c[0].kill()
	await(t, "all agents moved again", func() bool { return len(w.at(w.c[1])) == len(w.agents) })
	w.wantOnce("at a controller that had none of it", lines, func() []string { return w.past(w.c[1]) })
}
