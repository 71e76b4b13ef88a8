package reconcile

import (
	"slices"
	"sync"

	"ktrdr.io/fleet/pkg/api"
)

// bell collects wake-ups for the loop: any number of rings become one.
type bell struct {
	// C has one slot; a value means that take has something.
	C chan struct{}

	mu       sync.Mutex
	projects []string
	all      bool
	desired  *api.Desired
	changed  bool
}

func newBell() *bell { return &bell{C: make(chan struct{}, 1)} }

func (b *bell) ring(project string) {
	b.mu.Lock()
	if project == "" {
		b.all = true
	} else if !slices.Contains(b.projects, project) {
		b.projects = append(b.projects, project)
	}
	b.mu.Unlock()
	b.wake()
}

func (b *bell) setDesired(d *api.Desired) {
	b.mu.Lock()
	b.desired, b.changed = d, true
	b.mu.Unlock()
	b.wake()
}

func (b *bell) wake() {
	select {
	case b.C <- struct{}{}:
	default:
	}
}

func (b *bell) take() (projects []string, all bool, desired *api.Desired, changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	projects, all, desired, changed = b.projects, b.all, b.desired, b.changed
	b.projects, b.all, b.desired, b.changed = nil, false, nil, false
	return projects, all, desired, changed
}
