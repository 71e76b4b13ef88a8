package observe_test

import (
	"slices"
	"sync"
)

// rings records whom the bells were for.
type rings struct {
	mu  sync.Mutex
	got []string
}

func (r *rings) ring(project string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, project)
}

// take returns the distinct projects that were rung since the last take, sorted.
func (r *rings) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	slices.Sort(got)
	return slices.Compact(got)
}
