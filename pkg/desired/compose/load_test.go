package compose_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/template"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/compose"
)

// repository writes files below a new root; the keys are paths.
func repository(t *testing.T, files map[string]string) compose.Request {
	t.Helper()
	req := compose.Request{Root: t.TempDir(), Project: "demo", Files: []string{"compose.yaml"}}
	for name, content := range files {
		write(t, filepath.Join(req.Root, name), content)
	}
	return req
}

func load(t *testing.T, req compose.Request) *compose.Project {
	t.Helper()
	p, err := compose.Load(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// refusal returns the text of the problems of a repository that must be refused.
func refusal(t *testing.T, req compose.Request) string {
	t.Helper()
	_, err := compose.Load(t.Context(), req)
	var all *compose.Error
	if !errors.As(err, &all) {
		t.Fatalf("got %v, want problems", err)
	}
	return all.Error()
}

// The same input gives the same output, hashes and problems included, however maps are
// ordered.
func TestDeterministic(t *testing.T) {
	archives, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range archives {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		req := request(t, archive)
		firstProject, firstErr := compose.Load(t.Context(), req)
		for range 8 {
			p, err := compose.Load(t.Context(), req)
			if diff := cmp.Diff(firstProject, p); diff != "" {
				t.Fatalf("%s: two results:\n%s", file, diff)
			}
			if fmt.Sprint(err) != fmt.Sprint(firstErr) {
				t.Fatalf("%s: two errors:\n%v\n%v", file, firstErr, err)
			}
		}
	}
}

func TestSpecHash(t *testing.T) {
	hash := func(files map[string]string) string {
		p := load(t, repository(t, files))
		replica := p.Services[0].Replicas[0]
		if replica.SpecHash != replica.Spec.Hash() {
			t.Errorf("SpecHash %s is not Spec.Hash() %s", replica.SpecHash, replica.Spec.Hash())
		}
		return replica.SpecHash
	}
	const service = "services: {a: {image: a, volumes: ['./%s:/x:ro']}}\n"
	base := hash(map[string]string{"compose.yaml": fmt.Sprintf(service, "f"), "f": "1"})
	for name, test := range map[string]struct {
		files map[string]string
		same  bool
	}{
		"again":            {map[string]string{"compose.yaml": fmt.Sprintf(service, "f"), "f": "1"}, true},
		"moved":            {map[string]string{"compose.yaml": fmt.Sprintf(service, "g/h"), "g/h": "1"}, true},
		"comment":          {map[string]string{"compose.yaml": "# c\n" + fmt.Sprintf(service, "f"), "f": "1"}, true},
		"other content":    {map[string]string{"compose.yaml": fmt.Sprintf(service, "f"), "f": "2"}, false},
		"folder":           {map[string]string{"compose.yaml": fmt.Sprintf(service, "f"), "f/f": "1"}, false},
		"another service":  {map[string]string{"compose.yaml": strings.TrimSuffix(fmt.Sprintf(service, "f"), "}\n") + ", b: {image: b}}\n", "f": "1"}, true},
		"update config":    {map[string]string{"compose.yaml": strings.Replace(fmt.Sprintf(service, "f"), "image: a", "image: a, deploy: {update_config: {delay: 1s}}", 1), "f": "1"}, true},
		"another variable": {map[string]string{"compose.yaml": strings.Replace(fmt.Sprintf(service, "f"), "image: a", "image: a, environment: [A=1]", 1), "f": "1"}, false},
	} {
		if got := hash(test.files); (got == base) != test.same {
			t.Errorf("%s: hash stays the same is %t, want %t", name, got == base, test.same)
		}
	}
}

// Names inside of a folder, and whether a file is executable, count for its digest.
func TestFolderDigest(t *testing.T) {
	digest := func(change func(root string) error) string {
		req := repository(t, map[string]string{
			"compose.yaml": "services: {a: {image: a, volumes: ['./d:/x:ro']}}", "d/one": "1", "d/sub/two": "2",
		})
		if err := change(req.Root); err != nil {
			t.Fatal(err)
		}
		return load(t, req).Services[0].Replicas[0].Spec.Mounts[0].Repo.Digest
	}
	base := digest(func(string) error { return nil })
	for name, test := range map[string]struct {
		change func(root string) error
		same   bool
	}{
		"readable for all": {func(root string) error { return os.Chmod(filepath.Join(root, "d/one"), 0o644) }, true},  //nolint:gosec // what it tests
		"executable":       {func(root string) error { return os.Chmod(filepath.Join(root, "d/one"), 0o700) }, false}, //nolint:gosec // what it tests
		"content":          {func(root string) error { return os.WriteFile(filepath.Join(root, "d/sub/two"), []byte("3"), 0o600) }, false},
		"renamed":          {func(root string) error { return os.Rename(filepath.Join(root, "d/one"), filepath.Join(root, "d/uno")) }, false},
		"empty folder":     {func(root string) error { return os.Mkdir(filepath.Join(root, "d/new"), 0o750) }, false},
	} {
		if got := digest(test.change); (got == base) != test.same {
			t.Errorf("%s: digest stays the same is %t, want %t", name, got == base, test.same)
		}
	}
}

func TestLimits(t *testing.T) {
	bomb := "x-a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'j'; c++ {
		bomb += fmt.Sprintf("x-%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	many := "services:\n  a:\n    image: a\n    env_file:\n"
	files := map[string]string{}
	for i := range 12 {
		many += fmt.Sprintf("      - %d.env\n", i)
		files[fmt.Sprintf("%d.env", i)] = "#" + strings.Repeat("x", compose.MaxFile-10) + "\n"
	}
	files["compose.yaml"] = many
	climb := "include: [sub/c.yaml]\n"
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"file":      {map[string]string{"compose.yaml": "services: {a: {image: a}}\n#" + strings.Repeat("x", compose.MaxFile)}, "compose.yaml:1:1: compose.yaml: over the limit of 1048576 bytes"},
		"project":   {files, "over the limit of 10485760 bytes for all files of a project"},
		"bomb":      {map[string]string{"compose.yaml": bomb + "services: {a: {image: a}}\n"}, "more than 200000 values when aliases are expanded"},
		"endless":   {map[string]string{"compose.yaml": "services: &s {a: *s}\n"}, "nested deeper than"},
		"directory": {map[string]string{"compose.yaml/x": ""}, "compose.yaml is not a regular file"},
		"climbing":  {map[string]string{"compose.yaml": climb, "sub/c.yaml": "services: {a: {image: a, volumes: ['" + strings.Repeat("../", 70) + "etc:/x']}}"}, "leaves the repository"},
		"outside":   {map[string]string{"compose.yaml": climb, "sub/c.yaml": "services: {a: {image: a, volumes: ['../../etc:/x'], env_file: [../../x.env]}}"}, "../x.env leaves the repository"},
		"null byte": {map[string]string{"compose.yaml": "services: {a: {image: a, env_file: [\"a\\0b\"]}}"}, "a path can't hold a NUL character"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := refusal(t, repository(t, test.files)); !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %q in it", got, test.want)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	req := repository(t, map[string]string{"compose.yaml": "services: {a: {image: a}}"})
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	if _, err := compose.Load(ctx, req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

func TestRequest(t *testing.T) {
	good := repository(t, map[string]string{"compose.yaml": "services: {a: {image: a}}"})
	for name, change := range map[string]func(*compose.Request){
		"relative root":    func(r *compose.Request) { r.Root = "." },
		"absent root":      func(r *compose.Request) { r.Root = "/absent/root" },
		"dir outside":      func(r *compose.Request) { r.Dir = "../x" },
		"absolute dir":     func(r *compose.Request) { r.Dir = "/etc" },
		"no files":         func(r *compose.Request) { r.Files = nil },
		"file outside":     func(r *compose.Request) { r.Files = []string{"../compose.yaml"} },
		"absolute file":    func(r *compose.Request) { r.Files = []string{"/etc/passwd"} },
		"absent file":      func(r *compose.Request) { r.Files = []string{"absent.yaml"} },
		"bad project":      func(r *compose.Request) { r.Project = "Not A Project" },
		"no project":       func(r *compose.Request) { r.Project = "" },
		"relative workdir": func(r *compose.Request) { r.WorkingDirectory = "opt" },
	} {
		req := good
		change(&req)
		if p, err := compose.Load(t.Context(), req); err == nil || p != nil {
			t.Errorf("%s: was accepted", name)
		}
	}
	load(t, good)
}

// The process environment and .env files never reach a value.
func TestNoImplicitVariables(t *testing.T) {
	t.Setenv("FROM_PROCESS", "leak")
	req := repository(t, map[string]string{
		".env":         "FROM_DOTENV=leak\n",
		"compose.yaml": "services: {a: {image: a, environment: {A: '${FROM_PROCESS}', B: '${FROM_DOTENV}', C: '${FROM_PROCESS:-d}'}}}",
	})
	req.Lookup = func(string) (string, bool) { return "", false }
	got := refusal(t, req)
	for _, name := range []string{"FROM_PROCESS", "FROM_DOTENV"} {
		if !strings.Contains(got, name+" is not defined") {
			t.Errorf("%s was defined: %s", name, got)
		}
	}
	if strings.Contains(got, "leak") || strings.Count(got, "\n") != 1 {
		t.Error(got)
	}
}

// What can be interpolated is interpolated as compose-go does it, and what it refuses is
// refused.
func TestInterpolationAgreesWithComposeGo(t *testing.T) {
	values := map[string]string{"A": "one", "B": "", "LONG_name1": "x y"}
	get := func(name string) (string, bool) { v, ok := values[name]; return v, ok }
	part := rapid.SampledFrom([]string{
		"$", "$$", "{", "}", "${A}", "${B}", "$A", "${B:-", "${B-", "${A:+", "${A+", "${A:?", "${Z:-", "${Z-", "${Z:+", "x", "-", ":", " ",
		"${LONG_name1}", "?", "+", "1", "é",
	})
	root := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		text := strings.Join(rapid.SliceOfN(part, 0, 8).Draw(rt, "parts"), "")
		want, substituteErr := template.SubstituteWithOptions(text, get, template.WithoutLogging)
		write(t, filepath.Join(root, "compose.yaml"), fmt.Sprintf("services: {a: {image: a, environment: {V: %q}}}", text))
		p, err := compose.Load(t.Context(), compose.Request{Root: root, Project: "p", Files: []string{"compose.yaml"}, Lookup: get})
		switch {
		case err != nil && substituteErr == nil:
			if !strings.Contains(err.Error(), "is not defined") && !strings.Contains(err.Error(), "write $$ for") {
				rt.Fatalf("%q: refused (%v), compose-go makes %q of it", text, err, want)
			}
		case substituteErr != nil && err == nil:
			rt.Fatalf("%q: accepted, compose-go says %v", text, substituteErr)
		case err == nil && p.Services[0].Replicas[0].Spec.Env[0] != "V="+want:
			rt.Fatalf("%q: got %q, compose-go makes %q of it", text, p.Services[0].Replicas[0].Spec.Env[0], want)
		}
	})
}

// A reference in a variable is never split, quoted or lost, whatever stands around it.
func TestReferencesSurvive(t *testing.T) {
	ref := rapid.StringMatching(`op://[A-Za-z0-9_. -]{0,8}[A-Za-z]/[A-Za-z ]{0,6}[a-z]/[a-z_]{1,9}`)
	around := rapid.StringMatching(`[a-z:@/=., ]{0,8}`)
	root := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		reference, before, after := ref.Draw(rt, "reference"), around.Draw(rt, "before"), around.Draw(rt, "after")
		value := before + api.Placeholder(reference) + after
		write(t, filepath.Join(root, "compose.yaml"), `services:
  a:
    image: a
    command: ["${V}"]
    environment: ["L=${V}"]
    healthcheck: {test: "${V}"}
    labels: {l: "${V}"}
    post_start: [{command: ["${V}"]}]
`)
		p, err := compose.Load(t.Context(), compose.Request{
			Root: root, Project: "p", Files: []string{"compose.yaml"}, Lookup: func(string) (string, bool) { return value, true },
		})
		if err != nil {
			rt.Fatal(err)
		}
		spec := p.Services[0].Replicas[0].Spec
		got := []string{spec.Command[0], spec.Env[0], spec.Healthcheck.Test[1], spec.Labels["l"], p.Services[0].PostStart[0].Command[0]}
		if diff := cmp.Diff([]string{value, "L=" + value, value, value, value}, got); diff != "" {
			rt.Fatal(diff)
		}
		if diff := cmp.Diff([]string{reference}, p.Services[0].Replicas[0].SecretRefs); diff != "" {
			rt.Fatal(diff)
		}
	})
}
