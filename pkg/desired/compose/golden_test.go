package compose_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/compose"
)

var update = flag.Bool("update", false, "rewrite the want sections of testdata/golden")

// TestGolden loads each archive of testdata/golden. Its comment may set the request
// (files, dir, project, profiles, enable, workdir, and NAME=value variables, where
// {{ op://… }} stands for a reference); its files are the repository; its section "want"
// is the result: specs and warnings, or the problems.
func TestGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := outcome(t, archive)
			if *update {
				setWant(archive, got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want(archive), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

func want(archive *txtar.Archive) string {
	for _, f := range archive.Files {
		if f.Name == "want" {
			return string(f.Data)
		}
	}
	return ""
}

func setWant(archive *txtar.Archive, got string) {
	for i := range archive.Files {
		if archive.Files[i].Name == "want" {
			archive.Files[i].Data = []byte(got)
			return
		}
	}
	archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(got)})
}

func outcome(t *testing.T, archive *txtar.Archive) string {
	t.Helper()
	p, err := compose.Load(t.Context(), request(t, archive))
	var all *compose.Error
	switch {
	case errors.As(err, &all):
		return all.Error() + "\n"
	case err != nil:
		t.Fatal(err)
	}
	return render(t, p)
}

// request writes the archive's files to a new repository.
func request(t *testing.T, archive *txtar.Archive) compose.Request {
	t.Helper()
	req := compose.Request{Root: t.TempDir(), Project: "demo"}
	variables := map[string]string{}
	for line := range strings.SplitSeq(string(archive.Comment), "\n") {
		key, value, found := strings.Cut(line, "=")
		if found && !strings.Contains(key, " ") {
			variables[key] = placeholders(value)
			continue
		}
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "files:":
			req.Files = words[1:]
		case "dir:":
			req.Dir = words[1]
		case "project:":
			req.Project = words[1]
		case "profiles:":
			req.Profiles = words[1:]
		case "enable:":
			req.Enable = words[1:]
		case "workdir:":
			req.WorkingDirectory = words[1]
		}
	}
	if req.Files == nil {
		req.Files = []string{"compose.yaml"}
	}
	for _, f := range archive.Files {
		if f.Name != "want" {
			write(t, filepath.Join(req.Root, f.Name), string(f.Data))
		}
	}
	req.Lookup = func(name string) (string, bool) { v, ok := variables[name]; return v, ok }
	return req
}

func placeholders(s string) string {
	for {
		head, rest, found := strings.Cut(s, "{{ ")
		ref, tail, closed := strings.Cut(rest, " }}")
		if !found || !closed {
			return s
		}
		s = head + api.Placeholder(ref) + tail
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if target, found := strings.CutPrefix(content, "symlink "); found {
		content = strings.TrimSpace(target)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o750), os.Symlink(content, file)); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o750), os.WriteFile(file, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// render prints specs without hashes, which have a test of their own.
func render(t *testing.T, p *compose.Project) string {
	t.Helper()
	var out bytes.Buffer
	for _, s := range p.Services {
		for i := range s.Replicas {
			s.Replicas[i].SpecHash = ""
		}
		fmt.Fprintf(&out, "service %s\n%s\n", s.Name, indented(t, s))
		for _, r := range s.Replicas {
			for _, mount := range r.Spec.Mounts {
				if mount.Repo != nil {
					fmt.Fprintf(&out, "repository %s: %s <- %s\n", r.Name, mount.Target, mount.Repo.Path)
				}
			}
		}
	}
	for _, n := range p.Networks {
		fmt.Fprintf(&out, "network %s\n%s\n", n.Key, indented(t, n))
	}
	for _, v := range p.Volumes {
		fmt.Fprintf(&out, "volume %s\n%s\n", v.Key, indented(t, v))
	}
	for _, name := range p.Disabled {
		fmt.Fprintf(&out, "disabled %s\n", name)
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(&out, "warning %s\n", w)
	}
	return api.Display(out.String())
}

func indented(t *testing.T, v any) string {
	t.Helper()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}
