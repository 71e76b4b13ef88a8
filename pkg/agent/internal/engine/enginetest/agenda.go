package enginetest

import (
	"slices"
	"time"
)

// agenda holds what the engine and its processes do by themselves, in time order; what is
// due at one instant happens in the order in which it was planned.
type agenda struct {
	entries []entry
	timer   *time.Timer
	last    int
}

type entry struct {
	at  time.Time
	seq int
	do  func()
}

// after plans do in d. f.mu is held, also when do runs.
func (f *Fake) after(d time.Duration, do func()) {
	a := &f.agenda
	a.last++
	e := entry{at: time.Now().Add(d), seq: a.last, do: do}
	i, _ := slices.BinarySearchFunc(a.entries, e, func(x, y entry) int {
		if c := x.at.Compare(y.at); c != 0 {
			return c
		}
		return x.seq - y.seq
	})
	a.entries = slices.Insert(a.entries, i, e)
	f.arm()
}

func (f *Fake) arm() {
	a := &f.agenda
	if a.timer != nil {
		a.timer.Stop()
	}
	if len(a.entries) > 0 {
		a.timer = time.AfterFunc(time.Until(a.entries[0].at), f.runDue)
	}
}

func (f *Fake) runDue() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.agenda.entries) > 0 && !f.agenda.entries[0].at.After(time.Now()) {
		e := f.agenda.entries[0]
		f.agenda.entries = f.agenda.entries[1:]
		e.do()
	}
	f.arm()
}
