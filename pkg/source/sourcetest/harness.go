package sourcetest

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/source"
)

// Patience is how long the suite waits for something that should be almost immediate.
const Patience = time.Minute

// File is one thing in an origin. The zero value is an absent one.
type File struct {
	// Content of a regular file.
	Content string
	// Exec makes it executable.
	Exec bool
	// Link, when not empty, makes it a symbolic link with this target.
	Link string
}

// Files maps slash-separated paths to what should be there; nil removes.
type Files map[string]*File

// Text makes a regular file.
func Text(content string) *File { return &File{Content: content} }

// Options of one source over an origin.
type Options struct {
	Path     string
	Limits   source.Limits
	CacheDir string
}

// Origin is a place that desired state comes from.
type Origin interface {
	// Publish applies the changes and makes them the newest revision, at once as far as the kind can.
	Publish(t testing.TB, changes Files)
	// Hide makes the origin unreachable until restore is called.
	Hide(t testing.TB) (restore func())
	// Open makes a source over the origin. The suite closes it.
	Open(t testing.TB, o Options) source.Source
}

// Harness makes an empty origin that lasts as long as the test.
type Harness func(t testing.TB) Origin

// Feature is something that a kind of source may lack.
type Feature string

// Features.
const (
	// Links are symbolic links.
	Links Feature = "symbolic links"
	// SubFolders are trees of a part of the origin.
	SubFolders Feature = "sub-folders"
)

// suite is what the tests run on.
type suite struct {
	origin  Harness
	without []Feature
}

func (s suite) has(f Feature) bool { return !slices.Contains(s.without, f) }

// plain leaves out the links, for a kind without them.
func (s suite) plain(files Files) Files {
	if !s.has(Links) {
		maps.DeleteFunc(files, func(_ string, f *File) bool { return f != nil && f.Link != "" })
	}
	return files
}

// Run runs the whole suite, but for the features that the kind is without.
func Run(t *testing.T, h Harness, without ...Feature) {
	s := suite{origin: h, without: without}
	tests := map[string]func(*testing.T, suite){
		"content and modes arrive":                       arrives,
		"unchanged revision is the same tree":            unchanged,
		"edit makes a new tree and keeps the old":        edited,
		"random changes":                                 random,
		"sub-folder":                                     subFolder,
		"missing sub-folder":                             missingFolder,
		"limits":                                         limits,
		"tampered tree is built again":                   tampered,
		"unfinished work of a crash is not a tree":       crash,
		"cached tree after restart without the origin":   cached,
		"names from outside can't leave the cache":       hostileIDs,
		"prune keeps what is asked and the newest":       prune,
		"prune while fetching":                           pruneWhileFetching,
		"canceled context":                               canceled,
		"origin goes away and comes back":                outage,
		"full disk keeps the old trees":                  diskFull,
		"change is noticed by the source or by the poll": noticed,
	}
	if !s.has(SubFolders) {
		delete(tests, "sub-folder")
		delete(tests, "missing sub-folder")
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

// open makes a source that is closed when the test ends.
func open(t testing.TB, o Origin, opts Options) source.Source {
	t.Helper()
	if opts.CacheDir == "" {
		opts.CacheDir = filepath.Join(t.TempDir(), "cache")
	}
	s := o.Open(t, opts)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close source: %v", err)
		}
	})
	return s
}

func fetch(t testing.TB, s source.Source, have string) source.Tree {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	tree, err := s.Fetch(ctx, have)
	if err != nil {
		t.Fatalf("Fetch: %v (reason %s)", err, source.ReasonOf(err))
	}
	return tree
}

// fetchError wants a failure with one of the reasons.
func fetchError(t testing.TB, s source.Source, want ...source.Reason) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	tree, err := s.Fetch(ctx, "")
	var e *source.Error
	if !errors.As(err, &e) {
		t.Fatalf("Fetch = %+v, %v, want a *source.Error", tree, err)
	}
	if !slices.Contains(want, e.Reason) {
		t.Fatalf("Fetch failed with reason %s (%v), want one of %v", e.Reason, e, want)
	}
}

// wantFiles compares a tree with what it should hold.
func wantFiles(t testing.TB, dir string, want Files) {
	t.Helper()
	got := Files{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		f, err := readFile(p, d)
		got[filepath.ToSlash(rel)] = f
		return err
	})
	if err != nil {
		t.Fatalf("read tree: %v", err)
	}
	want = maps.Clone(want)
	maps.DeleteFunc(want, func(_ string, f *File) bool { return f == nil })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("tree differs (-want +got):\n%s", diff)
	}
}

func readFile(p string, d fs.DirEntry) (*File, error) {
	if d.Type()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(p)
		return &File{Link: target}, err
	}
	info, err := d.Info()
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(p)
	return &File{Content: string(content), Exec: info.Mode()&0o111 == 0o111}, err
}

// WriteTo applies changes to a folder, for harnesses. Files are replaced by rename, as editors do it.
func WriteTo(t testing.TB, dir string, changes Files) {
	t.Helper()
	for name, f := range changes {
		if err := writeOne(filepath.Join(dir, filepath.FromSlash(name)), f); err != nil {
			t.Fatalf("publish %s: %v", name, err)
		}
		if f == nil {
			removeEmpty(dir, path.Dir(name))
		}
	}
}

func writeOne(p string, f *File) error {
	if f == nil {
		return os.Remove(p)
	}
	if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
		return err
	}
	tmp := p + ".new~"
	if f.Link != "" {
		if err := os.Symlink(f.Link, tmp); err != nil {
			return err
		}
		return os.Rename(tmp, p)
	}
	// Modes that must not be taken over: only the owner's x counts.
	mode := fs.FileMode(0o600)
	if f.Exec {
		mode = 0o700
	}
	if err := os.WriteFile(tmp, []byte(f.Content), mode); err != nil {
		return err
	}
	return os.Rename(tmp, p)
}

// removeEmpty removes folders that git would not keep either.
func removeEmpty(dir, name string) {
	for ; name != "." && !strings.HasPrefix(name, ".."); name = path.Dir(name) {
		if os.Remove(filepath.Join(dir, filepath.FromSlash(name))) != nil {
			return
		}
	}
}
