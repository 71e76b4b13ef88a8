package sourcetest

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/source"
)

func tampered(t *testing.T, h suite) {
	o := h.origin(t)
	o.Publish(t, h.sample())
	s := open(t, o, Options{})
	tree := fetch(t, s, "")
	for name, harm := range map[string]func(dir string) error{
		"content": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "fleet.yaml"), []byte("kind: Evil!\n"), 0o644)
		},
		"same size and time": func(dir string) error {
			p := filepath.Join(dir, "fleet.yaml")
			info, err := os.Stat(p)
			if err != nil {
				return err
			}
			if err := os.WriteFile(p, []byte("kind: FLEET\n"), 0o644); err != nil {
				return err
			}
			return os.Chtimes(p, info.ModTime(), info.ModTime())
		},
		"extra":     func(dir string) error { return os.WriteFile(filepath.Join(dir, "extra"), nil, 0o644) },
		"extra dir": func(dir string) error { return os.Mkdir(filepath.Join(dir, "extra"), 0o755) },
		"removed":   func(dir string) error { return os.Remove(filepath.Join(dir, "nodes/b.yaml")) },
		"mode":      func(dir string) error { return os.Chmod(filepath.Join(dir, "stacks/core/entry.sh"), 0o644) },
		"link": func(dir string) error {
			p := filepath.Join(dir, "stacks/core/inside")
			if err := os.Remove(p); err != nil {
				return err
			}
			return os.Symlink("/etc/hostname", p)
		},
		"all gone": os.RemoveAll,
		"a file":   func(dir string) error { _ = os.RemoveAll(dir); return os.WriteFile(dir, nil, 0o600) },
	} {
		if name == "link" && !h.has(Links) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			verified(t, s, tree.Revision.ID)
			if err := harm(tree.Dir); err != nil {
				t.Fatal(err)
			}
			// Harm that is fresh is easier to notice; the harm to find is old.
			<-time.After(100 * time.Millisecond)
			if _, ok := s.Cached(tree.Revision.ID); ok {
				t.Errorf("Cached vouches for a changed tree")
			}
			if again := fetch(t, s, tree.Revision.ID); again != tree {
				t.Errorf("built again as %+v, want %+v", again, tree)
			}
			wantFiles(t, tree.Dir, h.sample())
		})
	}
}

// verified asks for the tree for long enough that a source which remembers what it verified has begun to do so.
func verified(t *testing.T, s source.Source, id string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 10 {
		if _, ok := s.Cached(id); !ok {
			t.Fatal("the tree is not there to begin with")
		}
		<-tick.C
	}
}

// crash leaves behind what a process that died at a bad moment would.
func crash(t *testing.T, h suite) {
	o := h.origin(t)
	o.Publish(t, h.sample())
	cache := filepath.Join(t.TempDir(), "cache")
	s := open(t, o, Options{CacheDir: cache})
	tree := fetch(t, s, "")
	rec := filepath.Join(cache, "records", filepath.Base(tree.Dir)+".json")
	for name, harm := range map[string]func() error{
		"no record":        func() error { return os.Remove(rec) },
		"empty record":     func() error { return os.WriteFile(rec, nil, 0o600) },
		"truncated record": func() error { return os.WriteFile(rec, []byte(`{"digest":"12`), 0o600) },
		"rubbish in tmp":   func() error { return os.MkdirAll(filepath.Join(cache, "tmp", "new-1", "x"), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := harm(); err != nil {
				t.Fatal(err)
			}
			again := open(t, o, Options{CacheDir: cache})
			if got := fetch(t, again, ""); got != tree {
				t.Errorf("after the crash %+v, want %+v", got, tree)
			}
			wantFiles(t, tree.Dir, h.sample())
			if left, err := os.ReadDir(filepath.Join(cache, "tmp")); err != nil || len(left) > 0 {
				t.Errorf("left in tmp: %v, %v", left, err)
			}
		})
	}
}

func cached(t *testing.T, h suite) {
	o := h.origin(t)
	o.Publish(t, h.sample())
	cache := filepath.Join(t.TempDir(), "cache")
	first := fetch(t, open(t, o, Options{CacheDir: cache}), "")
	restore := o.Hide(t)
	defer restore()
	s := open(t, o, Options{CacheDir: cache})
	got, ok := s.Cached(first.Revision.ID)
	if !ok || !got.Revision.Time.Equal(first.Revision.Time) || got.Dir != first.Dir || got.Revision.ID != first.Revision.ID {
		t.Errorf("Cached = %+v, %v, want %+v", got, ok, first)
	}
}

func hostileIDs(t *testing.T, h suite) {
	o := h.origin(t)
	o.Publish(t, h.sample())
	s := open(t, o, Options{})
	tree := fetch(t, s, "")
	for _, id := range []string{
		"", ".", "..", "../trees", "/etc", tree.Dir, tree.Revision.ID + "/..", tree.Revision.ID + "/stacks",
		strings.Repeat("0", 40), "dir-" + strings.Repeat("0", 64),
	} {
		if got, ok := s.Cached(id); ok {
			t.Errorf("Cached(%q) = %+v", id, got)
		}
		if err := s.Prune(id, tree.Revision.ID); err != nil {
			t.Errorf("Prune(%q): %v", id, err)
		}
	}
	wantFiles(t, tree.Dir, h.sample())
}

func prune(t *testing.T, h suite) {
	o := h.origin(t)
	s := open(t, o, Options{})
	var trees []source.Tree
	for _, content := range []string{"one", "two", "three"} {
		o.Publish(t, Files{"f": Text(content)})
		trees = append(trees, fetch(t, s, ""))
	}
	if err := s.Prune(trees[1].Revision.ID); err != nil {
		t.Fatalf("Prune: %v", err)
	}
	for i, want := range []bool{false, true, true} {
		_, ok := s.Cached(trees[i].Revision.ID)
		_, err := os.Stat(trees[i].Dir)
		if ok != want || (err == nil) != want {
			t.Errorf("tree %d after Prune: cached %v, stat %v, want kept %v", i, ok, err, want)
		}
	}
	list, err := os.ReadDir(filepath.Join(filepath.Dir(trees[0].Dir), "..", "records"))
	if err != nil || len(list) != 2 {
		t.Errorf("records after Prune: %v, %v, want 2", list, err)
	}
}

// pruneWhileFetching: whatever Fetch returned last is whole, however often everything is pruned meanwhile.
func pruneWhileFetching(t *testing.T, h suite) {
	o := h.origin(t)
	s := open(t, o, Options{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		often := time.NewTicker(time.Millisecond)
		defer often.Stop()
		for {
			select {
			case <-stop:
				return
			case <-often.C:
				if err := s.Prune(); err != nil {
					t.Errorf("Prune: %v", err)
					return
				}
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	for _, content := range []string{"1", "2", "3", "4"} {
		want := Files{"f": Text(content), "d/g": Text(content)}
		o.Publish(t, want)
		wantFiles(t, fetch(t, s, "").Dir, want)
	}
}

func diskFull(t *testing.T, h suite) {
	cache := filepath.Join(t.TempDir(), "cache")
	if err := os.Mkdir(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	unmount, err := mountSmall(cache)
	if err != nil {
		t.Skipf("SKIPPED, needs the right to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unmount(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	o := h.origin(t)
	o.Publish(t, h.sample())
	s := o.Open(t, Options{CacheDir: cache})
	defer func() { _ = s.Close() }()
	first := fetch(t, s, "")
	o.Publish(t, Files{"big": Text(noise(3 << 20))})
	fetchError(t, s, source.ReasonStorage)
	wantFiles(t, first.Dir, h.sample())
	if _, ok := s.Cached(first.Revision.ID); !ok {
		t.Errorf("the last good tree is gone after the disk was full")
	}
	o.Publish(t, Files{"big": nil})
	wantFiles(t, fetch(t, s, "").Dir, h.sample())
}

// noise is text that doesn't compress, the same each time.
func noise(n int) string {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return string(b)
}
