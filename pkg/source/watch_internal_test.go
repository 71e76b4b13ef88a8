package source

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// TestBurstRingsOnce when it is over, and one that does not end rings in time.
func TestBurstRingsOnce(t *testing.T) {
	for name, c := range map[string]struct {
		events int
		pause  time.Duration
		rings  []time.Duration // since the first event
	}{
		"burst":  {200, time.Millisecond, []time.Duration{299 * time.Millisecond}},
		"single": {1, 0, []time.Duration{100 * time.Millisecond}},
		"calm":   {2, 150 * time.Millisecond, []time.Duration{100 * time.Millisecond, 250 * time.Millisecond}},
		"busy":   {20, 60 * time.Millisecond, []time.Duration{400 * time.Millisecond, 820 * time.Millisecond, 1240 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				events := make(chan fsnotify.Event)
				w := &watcher{
					cfg:    DirConfig{Root: "/none", Quiet: 100 * time.Millisecond, MaxWait: 400 * time.Millisecond},
					notify: &fsnotify.Watcher{Events: events, Errors: make(chan error)}, ring: make(chan struct{}, 1), early: make(chan struct{}, 1),
				}
				w.done.Go(w.run)
				began := time.Now()
				var rings []time.Duration
				w.done.Go(func() {
					for range w.ring {
						rings = append(rings, time.Since(began))
					}
				})
				for i := range c.events {
					events <- fsnotify.Event{Name: filepath.Join("/none", fmt.Sprint(i)), Op: fsnotify.Write}
					time.Sleep(c.pause)
				}
				time.Sleep(time.Minute)
				close(events)
				synctest.Wait()
				close(w.ring)
				w.done.Wait()
				if fmt.Sprint(rings) != fmt.Sprint(c.rings) {
					t.Errorf("rings after %s, want %s", rings, c.rings)
				}
			})
		})
	}
}
