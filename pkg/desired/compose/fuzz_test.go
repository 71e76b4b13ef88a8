package compose_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"ktrdr.io/fleet/pkg/desired/compose"
)

// FuzzLoad throws files at Load: no panic, bounded time, nothing read outside, and either
// a project or problems that name a file and a line.
func FuzzLoad(f *testing.F) {
	archives, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archives {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		if len(archive.Files) > 0 {
			f.Add(archive.Files[0].Data, []byte("A=${B:-c}\n"))
		}
	}
	f.Fuzz(func(t *testing.T, main, other []byte) {
		if len(main)+len(other) > 1<<14 {
			t.Skip("too large to tell anything new")
		}
		root := t.TempDir()
		for name, data := range map[string][]byte{"compose.yaml": main, "other.yaml": main, "x.env": other, "conf": other} {
			if err := os.WriteFile(filepath.Join(root, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		p, err := compose.Load(ctx, compose.Request{
			Root: root, Project: "fuzz", Files: []string{"compose.yaml"}, Enable: []string{"a"}, WorkingDirectory: "/opt",
			Lookup: func(name string) (string, bool) { return name, len(name) == 1 },
		})
		checkOutcome(t, p, err)
	})
}

func checkOutcome(t *testing.T, p *compose.Project, err error) {
	t.Helper()
	if errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("took longer than its deadline")
	}
	if (p == nil) == (err == nil) {
		t.Fatal("exactly one of project and error")
	}
	var all *compose.Error
	if err != nil && !errors.As(err, &all) {
		t.Fatalf("an error without places: %v", err)
	}
	if all != nil {
		for _, problem := range all.Problems {
			if problem.File == "" || problem.Line < 1 || problem.Message == "" {
				t.Fatalf("a problem without its place: %+v", problem)
			}
		}
	}
	if p == nil {
		return
	}
	for _, s := range p.Services {
		for _, r := range s.Replicas {
			if r.SpecHash != r.Spec.Hash() || r.Name == "" {
				t.Fatalf("replica %+v", r)
			}
		}
	}
}
