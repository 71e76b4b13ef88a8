package web

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/desired"
)

// wanting is what a node wants by its slice with that digest, or is on its way.
type wanting struct {
	digest string
	done   chan struct{}
	made   *wanted
	err    error
}

// want reads the accepted slice of a node, once however many ask for it. No lock is held
// meanwhile.
func (t *Targets) want(ctx context.Context, n hub.Node) (*wanted, error) {
	t.mu.Lock()
	w := t.wants[n.Name]
	mine := w == nil || w.digest != n.Digest
	if mine {
		w = &wanting{digest: n.Digest, done: make(chan struct{})}
		if t.wants == nil {
			t.wants = map[string]*wanting{}
		}
		t.wants[n.Name] = w
	}
	t.mu.Unlock()
	if mine {
		// Others wait for it too: it must not end because the first one went away.
		t.fill(context.WithoutCancel(ctx), n, w)
	}
	select {
	case <-w.done:
		return w.made, w.err
	case <-ctx.Done():
		return nil, fmt.Errorf("read what node %s wants: %w", n.Name, context.Cause(ctx))
	}
}

func (t *Targets) fill(ctx context.Context, n hub.Node, w *wanting) {
	defer close(w.done)
	if w.made, w.err = t.load(ctx, n); w.err == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wants[n.Name] == w {
		delete(t.wants, n.Name) // tried anew by the next one who asks
	}
}

func (t *Targets) load(ctx context.Context, n hub.Node) (*wanted, error) {
	tree, err := t.Shelf.Tree(ctx, n.Revision)
	if err != nil {
		return nil, err
	}
	// The tree's own, because it reads the files of all nodes.
	outline, err := tree.Outline(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := tree.Dir(ctx)
	if err != nil {
		return nil, err
	}
	load := t.Load
	if load == nil {
		load = desired.Load
	}
	d, _, err := load(ctx, desired.Request{Root: dir, Node: n.Name, Revision: n.Revision})
	if err != nil {
		return nil, err
	}
	made := &wanted{replicas: map[string]*replica{}}
	hostname := cmp.Or(outline.Nodes[n.Name].Spec.Hostname, n.Name)
	for i := range d.Stacks {
		made.add(&d.Stacks[i], hostname, outline.Stacks[d.Stacks[i].Name])
	}
	return made, nil
}

// forget drops nodes that are gone.
func (t *Targets) forget(nodes []hub.Node) {
	here := make(map[string]bool, len(nodes))
	for i := range nodes {
		here[nodes[i].Name] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, w := range t.wants {
		select {
		case <-w.done:
			if !here[name] {
				delete(t.wants, name)
			}
		default: // others wait for it
		}
	}
}

func (w *wanted) add(stack *api.Stack, hostname string, file api.StackFile) {
	for i := range stack.Services {
		service := &stack.Services[i]
		for j := range service.Replicas {
			r := &service.Replicas[j]
			if len(r.Spec.Ports) == 0 {
				continue
			}
			w.replicas[r.Name] = &replica{
				hostname: hostname, stack: stack.Name, project: stack.Project, service: service.Name, container: r.Name,
				pool: service.Pool, slot: slot(file, service, r.Number), ports: r.Spec.Ports,
			}
		}
	}
}

// slot is the place in the pool: that of the service in a list of services, else the number
// of the replica.
func slot(file api.StackFile, service *api.Service, number int) int {
	if at := slices.Index(file.Spec.Pools[service.Pool].Services, service.Name); at >= 0 {
		return at + 1
	}
	return number
}
