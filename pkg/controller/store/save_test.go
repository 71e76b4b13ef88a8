package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/controller/store"
)

func external(prefix string) store.Config {
	return store.Config{External: &store.External{Endpoints: []string{shared}, Prefix: prefix}}
}

// TestSave copies a store that nobody has open, and makes none.
func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	embedded := store.Config{Embedded: &store.Embedded{Dir: dir}}
	if err := store.Save(t.Context(), embedded, io.Discard); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("looking for a store made one: %v", err)
	}
	s, err := store.Open(t.Context(), embedded)
	if err != nil {
		t.Fatal(err)
	}
	filled(t, s)
	if err := store.Save(t.Context(), embedded, io.Discard); !errors.Is(err, store.ErrLocked) {
		t.Errorf("an open store: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var backup bytes.Buffer
	if err := store.Save(t.Context(), embedded, &backup); err != nil {
		t.Fatal(err)
	}
	at := prefix()
	if err := store.Save(t.Context(), external(at), io.Discard); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("nothing under the prefix: %v", err)
	}
	if n, err := store.Restore(t.Context(), external(at), store.Backup{Content: &backup}); err != nil || n != 158 { // with what filled puts last
		t.Fatalf("restore: %d, %v", n, err)
	}
	if err := store.Save(t.Context(), external(at), io.Discard); err != nil {
		t.Error(err)
	}
	if _, err := client(t, shared).Put(t.Context(), at+"schema", "restoring"); err != nil {
		t.Fatal(err)
	}
	if err := store.Save(t.Context(), external(at), io.Discard); err == nil || !strings.Contains(err.Error(), "restore again") {
		t.Errorf("half a restore is backed up: %v", err)
	}
}

type broken struct{}

var errBroken = errors.New("the disk is full")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

// TestSnapshotToNowhere ends with the writer: what etcd sends ends too, and the store works on.
func TestSnapshotToNowhere(t *testing.T) {
	for name, s := range map[string]*store.Store{"embedded": openEmbedded(t, t.TempDir()), "external": open(t)} {
		filled(t, s)
		const times = 20
		before := runtime.NumGoroutine()
		for range times {
			if err := s.Snapshot(t.Context(), broken{}); !errors.Is(err, errBroken) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for end := time.Now().Add(patience); runtime.NumGoroutine() > before+times/2; time.Sleep(time.Millisecond) { //nolint:forbidigo // between two looks
			if time.Now().After(end) {
				t.Fatalf("%s: %d goroutines, before it were %d", name, runtime.NumGoroutine(), before)
			}
		}
		put(t, s, "after")
	}
}

// TestRestoreFindsTheFleet: one prefix in a cluster is found, of several one is asked for; and
// a store that was only looked at is empty.
func TestRestoreFindsTheFleet(t *testing.T) {
	one := openEmbedded(t, t.TempDir())
	backup := filled(t, one)
	embedded := store.Config{Embedded: &store.Embedded{Dir: t.TempDir()}}
	looked, err := store.Open(t.Context(), embedded)
	if err != nil {
		t.Fatal(err)
	}
	if err := looked.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Restore(t.Context(), embedded, store.Backup{Content: bytes.NewReader(backup)}); err != nil {
		t.Errorf("a store with nothing but its format: %v", err)
	}
	checkRestored(t, openConfig(t, embedded))

	open(t)
	open(t)
	var cluster bytes.Buffer
	if err := store.Save(t.Context(), external(fmt.Sprintf("/test/%d/", prefixes.Load())), &cluster); err != nil {
		t.Fatal(err)
	}
	_, err = store.Restore(t.Context(), external(prefix()), store.Backup{Content: &cluster})
	if err == nil || !strings.Contains(err.Error(), "say which with --prefix") {
		t.Errorf("several fleets: %v", err)
	}
}
