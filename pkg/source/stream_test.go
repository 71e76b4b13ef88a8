package source_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/source/sourcetest"
)

// feeder is a controller without a network: it offers what was published to each source that was opened over it.
type feeder struct {
	mu       sync.Mutex
	files    sourcetest.Files
	commits  int
	hidden   bool
	sources  []*source.Stream
	contents map[source.Sum]string
	// harm changes what Bring gives to a source; nil changes nothing.
	harm  func(p source.Part) []source.Part
	asked []source.Sum
}

func newFeeder() *feeder {
	return &feeder{files: sourcetest.Files{}, contents: map[source.Sum]string{}}
}

func (f *feeder) Publish(t testing.TB, changes sourcetest.Files) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.files, changes)
	maps.DeleteFunc(f.files, func(_ string, file *sourcetest.File) bool { return file == nil })
	f.commits++
	for _, s := range f.sources {
		if !f.hidden {
			_ = s.Offer(f.offer()) // Fetch says it too
		}
	}
}

// offer is the newest state. f.mu is held.
func (f *feeder) offer() source.Offer {
	o := source.Offer{Revision: source.Revision{
		ID: fmt.Sprintf("%040x", f.commits), Branch: "main", Author: "A <a@example>", Subject: "change", Time: time.Unix(int64(f.commits), 5),
	}}
	digest := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		file := f.files[name]
		entry := source.OfferFile{Path: name, Mode: 0o644, Size: int64(len(file.Content)), Sum: sha256.Sum256([]byte(file.Content))}
		if file.Exec {
			entry.Mode = 0o755
		}
		f.contents[entry.Sum] = file.Content
		o.Files = append(o.Files, entry)
		fmt.Fprintln(digest, entry)
	}
	o.Revision.Digest = fmt.Sprintf("sha256:%x", digest.Sum(nil))
	return o
}

func (f *feeder) Hide(testing.TB) func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hidden = true
	for _, s := range f.sources {
		s.Offline(errors.New("hidden"))
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.hidden = false
		for _, s := range f.sources {
			f.connect(s)
		}
	}
}

func (f *feeder) connect(s *source.Stream) {
	s.Online(bringer{f, s})
	if rev, ok := s.InForce(); f.commits > 0 && (!ok || rev != f.offer().Revision) {
		_ = s.Offer(f.offer())
	}
}

func (f *feeder) Open(t testing.TB, o sourcetest.Options) source.Source {
	t.Helper()
	s, err := source.NewStream(source.StreamConfig{CacheDir: o.CacheDir, Limits: o.Limits, Patience: -1, Settle: -1})
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sources = append(f.sources, s)
	if !f.hidden {
		f.connect(s)
	}
	return s
}

type bringer struct {
	from *feeder
	to   *source.Stream
}

// Bring sends everything in pieces of three bytes at least, the last one first where there is harm to do.
func (b bringer) Bring(_ context.Context, _ string, sums []source.Sum) error {
	b.from.mu.Lock()
	defer b.from.mu.Unlock()
	b.from.asked = append(b.from.asked, sums...)
	for _, sum := range sums {
		content := []byte(b.from.contents[sum])
		step := max(3, len(content)/3)
		for at := 0; at < len(content); at += step {
			parts := []source.Part{{Sum: sum, Offset: int64(at), Content: content[at:min(len(content), at+step)]}}
			if b.from.harm != nil {
				parts = b.from.harm(parts[0])
			}
			for _, p := range parts {
				if err := b.to.Store(p); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func TestStream(t *testing.T) {
	t.Parallel()
	sourcetest.Run(t, func(testing.TB) sourcetest.Origin { return newFeeder() }, sourcetest.Links, sourcetest.SubFolders)
}

func openStream(t *testing.T, f *feeder, cache string) *source.Stream {
	t.Helper()
	s, ok := f.Open(t, sourcetest.Options{CacheDir: cache}).(*source.Stream)
	if !ok {
		t.Fatal("not a stream")
	}
	return s
}

func mustFetch(t *testing.T, s *source.Stream) source.Tree {
	t.Helper()
	tree, err := s.Fetch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestStreamBringsOnlyWhatIsMissing(t *testing.T) {
	t.Parallel()
	f := newFeeder()
	f.Publish(t, sourcetest.Files{"a": sourcetest.Text("one"), "b": sourcetest.Text("one"), "d/c": sourcetest.Text("two"), "e": sourcetest.Text("")})
	cache := t.TempDir()
	s := openStream(t, f, cache)
	mustFetch(t, s)
	if len(f.asked) != 2 {
		t.Fatalf("asked for %d contents, want 2: equal ones once, the empty one never", len(f.asked))
	}
	f.asked = nil
	f.Publish(t, sourcetest.Files{"b": sourcetest.Text("three"), "moved": sourcetest.Text("two"), "d/c": nil})
	tree := mustFetch(t, s)
	if len(f.asked) != 1 {
		t.Fatalf("asked for %d contents after a change, want 1", len(f.asked))
	}
	if err := s.Prune(tree.Revision.ID); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(cache, "contents"))
	if err != nil || len(left) != 4 {
		t.Errorf("contents after Prune: %v, %v, want 4", left, err)
	}
}

func TestStreamHealsDamagedContents(t *testing.T) {
	t.Parallel()
	f := newFeeder()
	f.Publish(t, sourcetest.Files{"a": sourcetest.Text("content of a"), "b": sourcetest.Text("content of b")})
	cache := t.TempDir()
	s := openStream(t, f, cache)
	tree := mustFetch(t, s)
	for _, name := range []string{"a", "b"} {
		path := filepath.Join(cache, "contents", fmt.Sprintf("%x", sha256.Sum256([]byte("content of "+name))))
		if err := os.WriteFile(path, []byte("Content of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(tree.Dir); err != nil {
		t.Fatal(err)
	}
	f.asked = nil
	again := mustFetch(t, s)
	if data, err := os.ReadFile(filepath.Join(again.Dir, "b")); err != nil || string(data) != "content of b" {
		t.Errorf("b is %q, %v", data, err)
	}
	if len(f.asked) != 2 {
		t.Errorf("asked for %d contents, want both", len(f.asked))
	}
}

func TestStreamTakesNoWrongContent(t *testing.T) {
	t.Parallel()
	twice := func(p source.Part) []source.Part { return []source.Part{p, p} }
	for name, harm := range map[string]func(p source.Part) []source.Part{
		"another byte": func(p source.Part) []source.Part {
			p.Content = slices.Clone(p.Content)
			p.Content[0] ^= 1
			return []source.Part{p}
		},
		"too long": func(p source.Part) []source.Part {
			p.Content = append(slices.Clone(p.Content), make([]byte, 100)...)
			return []source.Part{p}
		},
		"twice":    twice,
		"gap":      func(p source.Part) []source.Part { p.Offset++; return []source.Part{p} },
		"negative": func(p source.Part) []source.Part { p.Offset = -p.Offset; return []source.Part{p} },
		"never":    func(source.Part) []source.Part { return nil },
		"unknown":  func(p source.Part) []source.Part { p.Sum[0] ^= 1; return []source.Part{p} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFeeder()
			f.harm = harm
			f.Publish(t, sourcetest.Files{"a": sourcetest.Text("a content of three parts")})
			cache := t.TempDir()
			s := openStream(t, f, cache)
			if tree, err := s.Fetch(t.Context(), ""); source.ReasonOf(err) != source.ReasonUnreachable {
				t.Fatalf("Fetch = %+v, %v", tree, err)
			}
			if left, err := os.ReadDir(filepath.Join(cache, "contents")); err != nil || len(left) > 0 {
				t.Errorf("kept %v, %v", left, err)
			}
			f.harm = nil
			mustFetch(t, s)
		})
	}
}

func TestStreamGoesOnFromWhatWasAccepted(t *testing.T) {
	t.Parallel()
	f := newFeeder()
	f.Publish(t, sourcetest.Files{"a": sourcetest.Text("good")})
	cache := t.TempDir()
	s := openStream(t, f, cache)
	good := mustFetch(t, s)
	if err := s.Accept(good.Revision); err != nil {
		t.Fatal(err)
	}
	f.Publish(t, sourcetest.Files{"a": sourcetest.Text("bad")})
	bad := mustFetch(t, s) // and nobody accepts it
	f.Hide(t)
	again, err := source.NewStream(source.StreamConfig{CacheDir: cache, Patience: -1, Settle: -1})
	if err != nil {
		t.Fatal(err)
	}
	if rev, ok := again.InForce(); !ok || rev != good.Revision {
		t.Errorf("in force after a restart: %+v, %v", rev, ok)
	}
	if tree, ok := again.Cached(good.Revision.ID); !ok || tree != good {
		t.Errorf("Cached = %+v, %v", tree, ok)
	}
	if _, ok := again.Cached(bad.Revision.ID); !ok {
		t.Error("the refused tree is not there")
	}
	// A controller that has nothing newer says nothing.
	again.Online(bringer{f, again})
	if tree := mustFetch(t, again); tree != good {
		t.Errorf("Fetch = %+v, want %+v", tree, good)
	}
	if err := os.RemoveAll(good.Dir); err != nil {
		t.Fatal(err)
	}
	if _, ok := again.InForce(); ok {
		t.Error("vouches for a tree that is gone")
	}
}

// TestStreamSameCommitOtherFiles: a controller that puts slices together by another rule changes what a commit has.
func TestStreamSameCommitOtherFiles(t *testing.T) {
	t.Parallel()
	f := newFeeder()
	f.Publish(t, sourcetest.Files{"a": sourcetest.Text("one")})
	s := openStream(t, f, t.TempDir())
	first := mustFetch(t, s)
	f.commits--
	f.Publish(t, sourcetest.Files{"b": sourcetest.Text("two")})
	second := mustFetch(t, s)
	if first.Revision.ID != second.Revision.ID || first.Dir == second.Dir {
		t.Fatalf("%+v and %+v", first, second)
	}
	if _, err := os.Stat(filepath.Join(first.Dir, "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the first tree was changed: %v", err)
	}
}

func TestStreamWaitsForTheController(t *testing.T) {
	t.Parallel()
	f := newFeeder()
	f.Publish(t, sourcetest.Files{"a": sourcetest.Text("one")})
	s, err := source.NewStream(source.StreamConfig{CacheDir: t.TempDir(), Patience: time.Minute, Settle: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Fetch(t.Context(), "")
		done <- err
	}()
	f.mu.Lock()
	f.connect(s)
	f.mu.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	silent, err := source.NewStream(source.StreamConfig{CacheDir: t.TempDir(), Settle: -1})
	if err != nil {
		t.Fatal(err)
	}
	silent.Online(bringer{f, silent})
	if _, err := silent.Fetch(t.Context(), ""); source.ReasonOf(err) != source.ReasonNotDesired {
		t.Errorf("a node without a state: %v", err)
	}
}

func TestStreamRefusesOffers(t *testing.T) {
	t.Parallel()
	file := func(path string) source.OfferFile {
		return source.OfferFile{Path: path, Mode: 0o644, Size: 1, Sum: sha256.Sum256([]byte("x"))}
	}
	with := func(change func(*source.OfferFile)) []source.OfferFile {
		f := file("a")
		change(&f)
		return []source.OfferFile{f}
	}
	for name, files := range map[string][]source.OfferFile{
		"absolute": {file("/etc/passwd")}, "parent": {file("../a")}, "inside parent": {file("a/../../b")}, "dot": {file("./a")}, "root": {file(".")},
		"empty": {file("")}, "git": {file("a/.git/config")}, "GIT": {file(".GIT/hooks/x")}, "zero byte": {file("a\x00b")}, "twice": {file("a"), file("a")},
		"file and folder": {file("a"), file("a/b")}, "folder and file": {file("a/b/c"), file("a/b")},
		"long name": {file(string(make([]byte, 300)))}, "mode": with(func(f *source.OfferFile) { f.Mode = 0o4755 }),
		"link": with(func(f *source.OfferFile) { f.Mode = fs.ModeSymlink | 0o644 }), "no size": with(func(f *source.OfferFile) { f.Size = 0 }),
		"negative": with(func(f *source.OfferFile) { f.Size = -1 }), "huge": with(func(f *source.OfferFile) { f.Size = 1 << 62 }),
		"two sizes": {file("a"), {Path: "b", Mode: 0o644, Size: 2, Sum: sha256.Sum256([]byte("x"))}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFeeder()
			s := openStream(t, f, t.TempDir())
			rev := source.Revision{ID: fmt.Sprintf("%040x", 1), Digest: fmt.Sprintf("sha256:%064x", 1)}
			err := s.Offer(source.Offer{Revision: rev, Files: files})
			if r := source.ReasonOf(err); r != source.ReasonInvalid && r != source.ReasonTooLarge {
				t.Errorf("Offer: %v", err)
			}
			if _, again := s.Fetch(t.Context(), ""); again == nil || source.ReasonOf(again) != source.ReasonOf(err) {
				t.Errorf("Fetch says %v, Offer said %v", again, err)
			}
			if err := s.Assemble(t.Context(), source.Offer{Revision: rev, Files: files}, t.TempDir(), bringer{f, s}); err == nil {
				t.Error("Assemble takes it")
			}
		})
	}
}

func TestStreamAssemblesBesides(t *testing.T) {
	t.Parallel()
	f := newFeeder()
	f.Publish(t, sourcetest.Files{"a": sourcetest.Text("in force")})
	cache := t.TempDir()
	s := openStream(t, f, cache)
	before := mustFetch(t, s)
	other := newFeeder()
	other.Publish(t, sourcetest.Files{"a": sourcetest.Text("planned"), "d/e": sourcetest.Text("more")})
	dir := t.TempDir()
	if err := s.Assemble(t.Context(), other.offer(), dir, bringer{other, s}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "d/e")); err != nil || string(data) != "more" {
		t.Errorf("d/e is %q, %v", data, err)
	}
	if after := mustFetch(t, s); after != before {
		t.Errorf("the newest is %+v, want %+v", after, before)
	}
	if left, err := os.ReadDir(filepath.Join(cache, "contents")); err != nil || len(left) != 1 {
		t.Errorf("contents: %v, %v, want those of the newest", left, err)
	}
}
