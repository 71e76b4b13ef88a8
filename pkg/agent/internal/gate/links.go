package gate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// linkReader follows symbolic links of host paths, each within a time limit. A file system
// that hangs keeps one goroutine for each path, never a second one.
type linkReader struct {
	limit  time.Duration
	follow func(name string) (string, error)

	mu      sync.Mutex
	running map[string]*linkLookup
}

// linkLookup is one path under way. target and err may be read once done is closed.
type linkLookup struct {
	done   chan struct{}
	target string
	err    error
}

// linkLimit is how long a look at one path may take.
const linkLimit = 2 * time.Second

func newLinkReader(follow func(string) (string, error)) *linkReader {
	return &linkReader{limit: linkLimit, follow: follow, running: map[string]*linkLookup{}}
}

// read tells where a path leads.
func (l *linkReader) read(ctx context.Context, name string) (string, error) {
	lookup := l.begin(name)
	timer := time.NewTimer(l.limit)
	defer timer.Stop()
	select {
	case <-lookup.done:
		return lookup.target, lookup.err
	case <-ctx.Done():
		return "", ctx.Err()
	case <-timer.C:
		return "", fmt.Errorf("follow the links of %s: no answer within %s: check the file system below it", name, l.limit)
	}
}

func (l *linkReader) begin(name string) *linkLookup {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lookup := l.running[name]; lookup != nil {
		return lookup
	}
	lookup := &linkLookup{done: make(chan struct{})}
	l.running[name] = lookup
	go func() {
		lookup.target, lookup.err = l.follow(name)
		l.mu.Lock()
		delete(l.running, name)
		l.mu.Unlock()
		close(lookup.done)
	}()
	return lookup
}

// readAll tells where several paths lead, side by side. What can't be told is not in the
// answer.
func (l *linkReader) readAll(ctx context.Context, names []string) map[string]string {
	links := map[string]string{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			target, err := l.read(ctx, name)
			if err != nil {
				return
			}
			mu.Lock()
			links[name] = target
			mu.Unlock()
		})
	}
	wg.Wait()
	return links
}

// leadsTo follows the links of a clean path as far as it exists: what is missing is made
// by the engine below what is there.
func leadsTo(name string) (string, error) {
	target, err := filepath.EvalSymlinks(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return target, err
	}
	if _, err := os.Lstat(name); err == nil {
		return "", fmt.Errorf("%s is a symbolic link to something that is not there", name)
	}
	if name == filepath.Dir(name) {
		return name, nil
	}
	parent, err := leadsTo(filepath.Dir(name))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(name)), nil
}
