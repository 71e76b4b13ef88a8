package compose

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
)

// Bounds on what a Loader remembers.
const (
	// maxAnswers bounds the results of one request that differ by what Lookup answered.
	maxAnswers = 16
	// maxRemembered bounds the containers of all results together.
	maxRemembered = 2048
)

// Loader loads Compose files of a tree that does not change, and remembers projects: a later
// request for the same gets a copy when its Lookup answers all that was looked up as before.
// Lookup is called for it in the same order, and Visit for the same paths, as Load would
// call them. Errors are not remembered. Safe for concurrent use; the zero value is ready.
type Loader struct {
	mu    sync.Mutex
	known map[string]*request
	size  int // of all that is known
}

// request is what is known of requests that differ in nothing but their functions.
type request struct {
	// first is closed when the first of them was loaded, or refused.
	first   chan struct{}
	results []*result // replaced, never changed
}

// result is a project with all that decided about it, besides the request and the tree.
type result struct {
	asked   []answer // in the order in which Lookup was first called
	visited []string
	project *Project
}

type answer struct {
	name, value string
	ok          bool
}

// Load is Load of this package. The project is the caller's own.
func (l *Loader) Load(ctx context.Context, req Request) (*Project, error) {
	if req.Lookup == nil {
		req.Lookup = func(string) (string, bool) { return "", false }
	}
	if req.Visit == nil {
		req.Visit = func(string) {}
	}
	key := keyOf(req)
	first, isFirst := l.claim(key)
	if isFirst {
		defer close(first)
	} else if err := wait(ctx, first); err != nil {
		return nil, err
	}
	for _, r := range l.results(key) {
		if r.applies(req.Lookup) {
			for _, name := range r.visited {
				req.Visit(name)
			}
			return deepCopy(r.project), nil
		}
	}
	recorded, r := record(req)
	project, err := Load(ctx, recorded)
	if err == nil {
		r.project = deepCopy(project)
		l.remember(key, r)
	}
	return project, err
}

// keyOf writes down every field but the functions: also one that is added later counts.
func keyOf(req Request) string {
	req.Lookup, req.Visit = nil, nil
	return fmt.Sprintf("%#v", req)
}

// claim tells whether nobody asked for this before; others wait for first, so that no two
// load the same at once. What later ones load is not waited for: as it is not the same as
// the first, they may all differ.
func (l *Loader) claim(key string) (first chan struct{}, isFirst bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.known[key]; ok {
		return known.first, false
	}
	l.makeRoom(1)
	if l.known == nil {
		l.known = map[string]*request{}
	}
	first = make(chan struct{})
	l.known[key] = &request{first: first}
	l.size++
	return first, true
}

func wait(ctx context.Context, first <-chan struct{}) error {
	select {
	case <-first:
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("load compose files: %w", err)
	}
	return nil
}

func (l *Loader) results(key string) []*result {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.known[key]; ok {
		return known.results
	}
	return nil
}

func (l *Loader) remember(key string, r *result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.known[key]; !ok || r.size() > maxRemembered/2 {
		return
	}
	l.makeRoom(r.size())
	known, ok := l.known[key]
	if !ok {
		return
	}
	l.size += r.size()
	known.results = append(slices.Clip(known.results), r)
	if len(known.results) > maxAnswers {
		// Any may go: values of nodes come in no order that would tell which is wanted again.
		at := rand.IntN(maxAnswers) //nolint:gosec // decides about time alone
		l.size -= known.results[at].size()
		known.results = slices.Concat(known.results[:at], known.results[at+1:])
	}
}

// makeRoom forgets requests, any of them, until size fits. Called with mu held.
func (l *Loader) makeRoom(size int) {
	for key, known := range l.known {
		if l.size+size <= maxRemembered {
			return
		}
		l.size--
		for _, r := range known.results {
			l.size -= r.size()
		}
		delete(l.known, key)
	}
}

// record returns the request with functions that write down in the result what they did.
func record(req Request) (Request, *result) {
	r := &result{}
	asked, visited := map[string]bool{}, map[string]bool{}
	lookup, visit := req.Lookup, req.Visit
	req.Lookup = func(name string) (string, bool) {
		value, ok := lookup(name)
		if !asked[name] {
			asked[name] = true
			r.asked = append(r.asked, answer{name, value, ok})
		}
		return value, ok
	}
	req.Visit = func(name string) {
		if !visited[name] {
			visited[name] = true
			r.visited = append(r.visited, name)
		}
		visit(name)
	}
	return req, r
}

// applies tells whether lookup answers as it did. It is called up to the first difference
// only: what comes after may never be asked for.
func (r *result) applies(lookup func(string) (string, bool)) bool {
	for _, a := range r.asked {
		if value, ok := lookup(a.name); value != a.value || ok != a.ok {
			return false
		}
	}
	return true
}

// size counts containers, and one for the rest.
func (r *result) size() int {
	size := 1
	for i := range r.project.Services {
		size += len(r.project.Services[i].Replicas)
	}
	return size
}
