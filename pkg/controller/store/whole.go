package store

import (
	"sync"
	"sync/atomic"
)

// Whole tells when several watches have given all records once: what is made of them lacks some
// before that. Its methods may be used concurrently.
type Whole struct {
	left atomic.Int64
	done chan struct{}
}

// NewWhole is for that many watches.
func NewWhole(watches int64) *Whole {
	w := &Whole{done: make(chan struct{})}
	w.left.Store(watches)
	return w
}

// Part is for one of the watches, which calls what it returns when it is Synced, any number of times.
func (w *Whole) Part() (synced func()) {
	return sync.OnceFunc(func() {
		if w.left.Add(-1) == 0 {
			close(w.done)
		}
	})
}

// Done is closed when all have called.
func (w *Whole) Done() <-chan struct{} { return w.done }
