package report

import "ktrdr.io/fleet/pkg/api"

// SetLink notes how the connection to the controller is.
func (r *Report) SetLink(l api.Link) {
	r.mu.Lock()
	r.link = &l
	r.touch()
	r.mu.Unlock()
}

// Changed returns a channel that is closed when Status may say something new. What changes
// by the passing of time alone, and the state of the providers of secrets, closes none.
func (r *Report) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// touch tells those who wait for a change. The caller holds the lock.
func (r *Report) touch() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}
