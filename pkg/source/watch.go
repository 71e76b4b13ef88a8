package source

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watcher turns file events below a folder into rings. It watches every folder below the target, and beside that the
// parents of the root and of the target, for the case that one of these is removed, made or replaced.
type watcher struct {
	cfg    DirConfig
	notify *fsnotify.Watcher
	ring   chan struct{}
	early  chan struct{}
	done   sync.WaitGroup

	// folders are the watched ones; guards maps a parent to the one name in it that matters.
	folders map[string]bool
	guards  map[string]string
}

func watch(cfg DirConfig) (*watcher, error) {
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &watcher{cfg: cfg, notify: n, ring: make(chan struct{}, 1), early: make(chan struct{}, 1)}
	w.renew()
	w.done.Go(w.run)
	return w, nil
}

func (w *watcher) close() error {
	err := w.notify.Close()
	w.done.Wait()
	return err
}

// run collects events until the folder is quiet, or has not been quiet for too long, and rings once. The early bell
// tells of the first event.
func (w *watcher) run() {
	var first time.Time
	var stale bool
	timer := time.NewTimer(0)
	<-timer.C
	for {
		select {
		case ev, ok := <-w.notify.Events:
			if !ok {
				return
			}
			dirty, moved := w.judge(ev)
			if !dirty {
				continue
			}
			stale = stale || moved
		case err, ok := <-w.notify.Errors:
			if !ok {
				return
			}
			// An overflow lost events of unknown kind: look at everything.
			w.cfg.Logger.Warn("watch folder", "root", w.cfg.Root, "err", err)
			stale = true
		case <-timer.C:
			if stale {
				w.renew()
			}
			first, stale = time.Time{}, false
			wake(w.ring)
			continue
		}
		if first.IsZero() {
			first = time.Now()
			wake(w.early)
		}
		timer.Reset(min(w.cfg.Quiet, max(0, w.cfg.MaxWait-time.Since(first))))
	}
}

func wake(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// judge says whether an event matters, and whether the set of folders to watch may have changed with it.
func (w *watcher) judge(ev fsnotify.Event) (dirty, moved bool) {
	if name, ok := w.guards[filepath.Dir(ev.Name)]; ok && name == filepath.Base(ev.Name) {
		return true, true
	}
	if _, ok := w.guards[ev.Name]; ok && ev.Has(fsnotify.Remove|fsnotify.Rename) {
		return true, true
	}
	target := w.target()
	if ev.Name != target && !strings.HasPrefix(ev.Name, target+string(filepath.Separator)) {
		return false, false
	}
	if ev.Name != target && w.cfg.ignored(filepath.Base(ev.Name)) {
		return false, false
	}
	if w.folders[ev.Name] {
		return true, ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename)
	}
	info, err := os.Lstat(ev.Name)
	return true, err == nil && info.IsDir()
}

func (w *watcher) target() string { return filepath.Join(w.cfg.Root, filepath.FromSlash(w.cfg.Path)) }

// renew forgets all watches and sets them again. inotify's watches stick to the inode: after a folder was moved, those
// inside it would go on to report, and be remembered, under the old name.
func (w *watcher) renew() {
	for _, name := range w.notify.WatchList() {
		// Removed folders have lost their watch already.
		_ = w.notify.Remove(name)
	}
	w.folders, w.guards = map[string]bool{}, map[string]string{}
	child := w.target()
	for child != filepath.Dir(w.cfg.Root) && child != filepath.Dir(child) {
		parent := filepath.Dir(child)
		if w.notify.Add(parent) == nil {
			w.guards[parent] = filepath.Base(child)
		}
		child = parent
	}
	w.descend(w.target())
}

// descend watches a folder before it lists it, so that what is made in between is either listed or reported.
func (w *watcher) descend(dir string) {
	if len(w.folders) >= w.cfg.Limits.MaxFiles {
		return
	}
	if err := w.notify.Add(dir); err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			w.cfg.Logger.Warn("folder is not watched, changes in it are found by polling only", "folder", dir, "err", err)
		}
		return
	}
	w.folders[dir] = true
	list, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, d := range list {
		if d.IsDir() && !w.cfg.ignored(d.Name()) {
			w.descend(filepath.Join(dir, d.Name()))
		}
	}
}
