package sourcetest

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/source"
)

func (s suite) sample() Files {
	return s.plain(Files{
		"fleet.yaml":                     Text("kind: Fleet\n"),
		"nodes/b.yaml":                   Text("kind: Node\n"),
		"stacks/core/compose.yaml":       Text("services: {}\n"),
		"stacks/core/entry.sh":           {Content: "#!/bin/sh\n", Exec: true},
		"stacks/core/empty":              Text(""),
		"stacks/core/nul":                Text("a\x00b\r\n\xff"),
		"stacks/core/a name with ümlaut": Text("x"),
		"stacks/core/inside":             {Link: "compose.yaml"},
		"stacks/core/outside":            {Link: "/etc/passwd"},
		"stacks/core/up":                 {Link: "../../../../etc"},
		"stacks/core/dangling":           {Link: "nowhere"},
	})
}

func arrives(t *testing.T, h suite) {
	o := h.origin(t)
	o.Publish(t, h.sample())
	cache := filepath.Join(t.TempDir(), "deep", "cache")
	tree := fetch(t, open(t, o, Options{CacheDir: cache}), "")
	wantFiles(t, tree.Dir, h.sample())
	if !filepath.IsAbs(tree.Dir) || tree.Revision.ID == "" || tree.Revision.Time.IsZero() {
		t.Errorf("incomplete tree %+v", tree)
	}
	for p, want := range map[string]fs.FileMode{
		".": 0o755, "stacks": 0o755, "fleet.yaml": 0o644, "stacks/core/entry.sh": 0o755,
	} {
		info, err := os.Lstat(filepath.Join(tree.Dir, p))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("mode of %s: %v, %v, want %o", p, info, err, want)
		}
	}
	if info, err := os.Stat(cache); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("mode of the cache: %v, %v, want 0711", info, err)
	}
}

func unchanged(t *testing.T, h suite) {
	o := h.origin(t)
	o.Publish(t, h.sample())
	s := open(t, o, Options{})
	first := fetch(t, s, "")
	before, err := os.Stat(first.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, have := range []string{first.Revision.ID, "", "0000000000000000000000000000000000000000"} {
		again := fetch(t, s, have)
		if again != first {
			t.Errorf("have %q: %+v, want %+v", have, again, first)
		}
	}
	after, err := os.Stat(first.Dir)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the tree was written again though nothing changed")
	}
}

func edited(t *testing.T, h suite) {
	o := h.origin(t)
	o.Publish(t, h.sample())
	s := open(t, o, Options{})
	first := fetch(t, s, "")
	change := h.plain(Files{
		"fleet.yaml":            Text("kind: Fleet # edited\n"),
		"nodes/b.yaml":          nil,
		"nodes/deep/er/c.yaml":  Text("new"),
		"stacks/core/entry.sh":  Text("#!/bin/sh\n"),
		"stacks/core/inside":    Text("a file now"),
		"stacks/core/empty":     {Link: "nul"},
		"stacks/core/.hidden":   Text("h"),
		"stacks/core/x.sh":      {Content: "x", Exec: true},
		"stacks/core/outside":   {Link: "/etc/shadow"},
		"stacks/core/.gitkeep":  Text(""),
		"stacks/.gitattributes": Text("* -text ident filter=x export-subst\n"),
		"stacks/core/crlf":      Text("$Id$\r\nb\n"),
	})
	o.Publish(t, change)
	second := fetch(t, s, first.Revision.ID)
	want := h.sample()
	maps.Copy(want, change)
	if second.Revision.ID == first.Revision.ID || second.Dir == first.Dir {
		t.Fatalf("the edit was not noticed: %+v", second)
	}
	wantFiles(t, second.Dir, want)
	wantFiles(t, first.Dir, h.sample())
}

// random checks the tree against a model over sequences of changes.
func random(t *testing.T, h suite) {
	o := h.origin(t)
	model := Files{"seed": Text("seed")}
	o.Publish(t, model)
	s := open(t, o, Options{})
	have := ""
	paths := rapid.SampledFrom([]string{"a", "b.yaml", "d/a", "d/b", "d/e/f", "g/h/i"})
	steps := 0
	rapid.Check(t, func(rt *rapid.T) {
		if steps++; steps > 5 {
			return // each step costs a commit; five draws of up to six changes mix enough
		}
		change := Files{}
		for range rapid.IntRange(1, 6).Draw(rt, "changes") {
			p := paths.Draw(rt, "path")
			switch kind := rapid.IntRange(0, 3).Draw(rt, "kind"); {
			case kind == 0 && model[p] != nil:
				change[p] = nil
			case kind == 1 && h.has(Links):
				change[p] = &File{Link: rapid.SampledFrom([]string{"a", "../b", "/x"}).Draw(rt, "target")}
			default:
				change[p] = &File{Content: rapid.String().Draw(rt, "content"), Exec: kind == 2}
			}
		}
		change["n"] = Text(fmt.Sprint(steps))
		o.Publish(t, change)
		maps.Copy(model, change)
		maps.DeleteFunc(model, func(_ string, f *File) bool { return f == nil })
		tree := fetch(t, s, have)
		have = tree.Revision.ID
		wantFiles(t, tree.Dir, model)
	})
}

func subFolder(t *testing.T, h suite) {
	o := h.origin(t)
	o.Publish(t, h.sample())
	s := open(t, o, Options{Path: "stacks/core"})
	tree := fetch(t, s, "")
	want := Files{}
	for name, f := range h.sample() {
		if rel, err := filepath.Rel("stacks/core", name); err == nil && filepath.IsLocal(rel) {
			want[rel] = f
		}
	}
	wantFiles(t, tree.Dir, want)
	o.Publish(t, Files{"stacks/core/compose.yaml": Text("services: {a: {}}\n")})
	want["compose.yaml"] = Text("services: {a: {}}\n")
	wantFiles(t, fetch(t, s, tree.Revision.ID).Dir, want)
}

func missingFolder(t *testing.T, h suite) {
	o := h.origin(t)
	o.Publish(t, h.sample())
	fetchError(t, open(t, o, Options{Path: "stacks/nowhere"}), source.ReasonPathNotFound)
	fetchError(t, open(t, o, Options{Path: "fleet.yaml"}), source.ReasonPathNotFound)
	fetchError(t, open(t, o, Options{Path: "stacks/core/outside"}), source.ReasonPathNotFound, source.ReasonInvalid)
	s := open(t, o, Options{Path: "later/on"})
	fetchError(t, s, source.ReasonPathNotFound)
	o.Publish(t, Files{"later/on/x": Text("x")})
	wantFiles(t, fetch(t, s, "").Dir, Files{"x": Text("x")})
}

func limits(t *testing.T, h suite) {
	o := h.origin(t)
	o.Publish(t, Files{"a": Text("12345"), "d/b": Text("67890")})
	ok := source.Limits{MaxFiles: 3, MaxBytes: 10}
	s := open(t, o, Options{Limits: ok})
	first := fetch(t, s, "")
	fetchError(t, open(t, o, Options{Limits: source.Limits{MaxFiles: 2}}), source.ReasonTooLarge)
	fetchError(t, open(t, o, Options{Limits: source.Limits{MaxBytes: 9}}), source.ReasonTooLarge)
	o.Publish(t, Files{"a": Text("123456")})
	fetchError(t, s, source.ReasonTooLarge)
	wantFiles(t, first.Dir, Files{"a": Text("12345"), "d/b": Text("67890")})
	if _, ok := s.Cached(first.Revision.ID); !ok {
		t.Errorf("the last good tree is gone after a failure")
	}
}

func canceled(t *testing.T, h suite) {
	o := h.origin(t)
	o.Publish(t, h.sample())
	s := open(t, o, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Fetch(ctx, ""); source.ReasonOf(err) != source.ReasonCanceled {
		t.Errorf("Fetch = %v (reason %s), want Canceled", err, source.ReasonOf(err))
	}
	wantFiles(t, fetch(t, s, "").Dir, h.sample())
}

// outage: an origin that goes away costs an error and nothing else.
func outage(t *testing.T, h suite) {
	o := h.origin(t)
	o.Publish(t, h.sample())
	s := open(t, o, Options{})
	first := fetch(t, s, "")
	restore := o.Hide(t)
	fetchError(t, s, source.ReasonUnreachable, source.ReasonPathNotFound, source.ReasonRepositoryNotFound)
	wantFiles(t, first.Dir, h.sample())
	if got, ok := s.Cached(first.Revision.ID); !ok || got != first {
		t.Errorf("Cached = %+v, %v, want %+v", got, ok, first)
	}
	restore()
	if again := fetch(t, s, first.Revision.ID); again != first {
		t.Errorf("after the outage %+v, want %+v", again, first)
	}
}

func noticed(t *testing.T, h suite) {
	o := h.origin(t)
	o.Publish(t, h.sample())
	s := open(t, o, Options{})
	have := fetch(t, s, "").Revision.ID
	for i := range 3 {
		o.Publish(t, Files{fmt.Sprintf("stacks/new%d/deep/compose.yaml", i): Text("x")})
		if c := s.Changes(); c != nil {
			select {
			case <-c:
			case <-time.After(Patience):
				t.Fatalf("change %d rang no bell", i)
			}
		}
		tree := fetch(t, s, have)
		if tree.Revision.ID == have {
			t.Fatalf("change %d was not noticed", i)
		}
		have = tree.Revision.ID
	}
}
