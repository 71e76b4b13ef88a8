package controllers_test

import (
	"net"
	"sync"
	"testing"
)

// relay is the link between operators and one controller. It is cut and mended.
type relay struct {
	t  testing.TB
	to string
	l  net.Listener

	mu    sync.Mutex
	conns []net.Conn
	// thawed is closed while the link carries bytes.
	thawed chan struct{}
	ended  bool
	taken  int
	work   sync.WaitGroup
}

// newRelay listens at an address until the test ends.
func newRelay(t testing.TB, at, to string) *relay {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", at)
	must(t, err)
	r := &relay{t: t, to: to, l: l, thawed: make(chan struct{})}
	close(r.thawed)
	r.work.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

func (r *relay) accept() {
	for {
		in, err := r.l.Accept()
		if err != nil {
			return
		}
		out, err := (&net.Dialer{}).DialContext(r.t.Context(), "tcp", r.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		r.mu.Lock()
		if r.ended {
			r.mu.Unlock()
			_, _ = in.Close(), out.Close()
			return
		}
		r.conns = append(r.conns, in, out)
		r.taken++
		r.work.Go(func() { r.carry(in, out) })
		r.work.Go(func() { r.carry(out, in) })
		r.mu.Unlock()
	}
}

// carry hands bytes on while the link is not cut; then nobody hears of anything, not even of an
// end.
func (r *relay) carry(from, to net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		r.mu.Lock()
		thawed := r.thawed
		r.mu.Unlock()
		<-thawed
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				_ = from.Close()
				return
			}
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// cut takes the link away: what is sent gets lost in silence.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.thawed = make(chan struct{})
}

func (r *relay) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.thawed:
	default:
		close(r.thawed)
	}
}

// served counts connections that were carried.
func (r *relay) served() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken
}

func (r *relay) close() {
	_ = r.l.Close()
	r.mend()
	r.mu.Lock()
	r.ended = true
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.work.Wait()
}
