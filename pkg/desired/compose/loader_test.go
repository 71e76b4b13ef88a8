package compose_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/compose"
)

// TestLoaderKey changes each field of a request alone: a Loader must tell it from the one
// that it knows, as Load does.
func TestLoaderKey(t *testing.T) {
	files := map[string]string{
		"a/compose.yaml": `
services:
  a: {image: a, env_file: own.env, volumes: ["./data:/data"]}
  off: {image: off, profiles: [p]}
  other: {image: other, profiles: [q]}
  ro: {image: ro, read_only: true, configs: [{source: s, target: /s}]}
configs: {s: {environment: SECRET}}
`,
		"b.yaml": "services: {b: {image: b}}", "a/own.env": "X=a", "own.env": "X=root",
	}
	base := repository(t, files)
	base.Dir, base.Files, base.Profiles, base.Enable = "a", []string{"a/compose.yaml"}, []string{}, []string{}
	base.WorkingDirectory = "/opt/a"
	base.Lookup = func(name string) (string, bool) { return api.Placeholder("op://v/i/f"), name == "SECRET" }
	files["a/compose.yaml"] = "services: {elsewhere: {image: a}}"
	changes := map[string]any{
		"Root": repository(t, files).Root, "Dir": ".", "Files": []string{"a/compose.yaml", "b.yaml"}, "Project": "else",
		"Profiles": []string{"p"}, "Enable": []string{"other"}, "WorkingDirectory": "/opt/b", "Delivery": api.DeliveryEnv,
	}
	fields := reflect.TypeFor[compose.Request]()
	for i := range fields.NumField() {
		field := fields.Field(i)
		if field.Type.Kind() == reflect.Func {
			continue
		}
		changed := base
		value, ok := changes[field.Name]
		if !ok {
			t.Errorf("field %s of a request is not changed", field.Name)
			continue
		}
		reflect.ValueOf(&changed).Elem().Field(i).Set(reflect.ValueOf(value))
		if want, err := compose.Load(t.Context(), changed); err == nil && cmp.Equal(load(t, base), want) {
			t.Errorf("%s decides about nothing in this test", field.Name)
		}
		loader := &compose.Loader{}
		for _, req := range []compose.Request{base, changed} {
			want, wantErr := compose.Load(t.Context(), req)
			got, err := loader.Load(t.Context(), req)
			if diff := cmp.Diff(want, got); diff != "" || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Errorf("%s changed (-Load +Loader):\n%s\n%v\n%v", field.Name, diff, wantErr, err)
			}
		}
	}
}

// used is a repository that uses variables in all ways.
func used(t *testing.T) compose.Request {
	t.Helper()
	req := repository(t, map[string]string{
		"compose.yaml": `
include: [{path: part/compose.yaml, env_file: part/own.env}]
services:
  a:
    image: a:${TAG-latest}
    env_file: "${WHERE:-x}.env"
    environment: {PLAIN: "$PLAIN and ${PLAIN}", BARE: , EMPTY: "${EMPTY+set}"}
  b: {extends: {file: base.yaml, service: base}, scale: "${SCALE:-1}"}
secrets: {s: {environment: SECRET}}
`,
		"part/compose.yaml": "services: {c: {image: \"c:${OWN}\", volumes: [\"./${DIR:-data}:/data:ro\"]}}",
		"part/own.env":      "OWN=${BELOW:-own}", "part/data/file": "1", "part/else/file": "2",
		"base.yaml": "services: {base: {image: \"base:${BASE-1}\", labels: [\"L=${LABEL-}\"]}}",
		"x.env":     "X=${IN_FILE:-x}", "y.env": "Y=1",
	})
	return req
}

// calls is what a request's functions were asked, without repetitions.
type calls struct{ Asked, Visited []string }

func variables(values map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

// with gives a request variables and writes down what is asked.
func with(req compose.Request, values map[string]string) (compose.Request, *calls) {
	return asking(req, variables(values))
}

func asking(req compose.Request, lookup func(string) (string, bool)) (compose.Request, *calls) {
	c := &calls{}
	note := func(list *[]string, name string) {
		if !slices.Contains(*list, name) {
			*list = append(*list, name)
		}
	}
	req.Lookup = func(name string) (string, bool) {
		note(&c.Asked, name)
		return lookup(name)
	}
	req.Visit = func(name string) { note(&c.Visited, name) }
	return req, c
}

// same fails when a Loader answers otherwise than Load, or asks otherwise.
func same(t *testing.T, loader *compose.Loader, req compose.Request, lookup func(string) (string, bool)) {
	t.Helper()
	plain, wantCalls := asking(req, lookup)
	want, wantErr := compose.Load(t.Context(), plain)
	remembering, gotCalls := asking(req, lookup)
	got, err := loader.Load(t.Context(), remembering)
	if fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Errorf("Load says %v, Loader %v", wantErr, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("project (-Load +Loader):\n%s", diff)
	}
	if diff := cmp.Diff(wantCalls, gotCalls); diff != "" {
		t.Errorf("calls (-Load +Loader):\n%s", diff)
	}
	change(reflect.ValueOf(got)) // what is done to a copy changes no other
}

// TestLoaderVariables changes each variable alone, back and forth, with one Loader.
func TestLoaderVariables(t *testing.T) {
	req := used(t)
	base := map[string]string{"PLAIN": "p"}
	changes := map[string]string{
		"TAG": "2", "WHERE": "y", "PLAIN": "q", "BARE": "b", "EMPTY": "", "SCALE": "2", "OWN": "o", "BELOW": "b", "DIR": "else",
		"BASE": "2", "LABEL": "l", "IN_FILE": "f", "SECRET": "s", "NOBODY": "n", "COMPOSE_PROJECT_NAME": "other",
	}
	loader := &compose.Loader{}
	for range 2 {
		same(t, loader, req, variables(base))
		for _, name := range slices.Sorted(maps.Keys(changes)) {
			changed := maps.Clone(base)
			changed[name] = changes[name]
			same(t, loader, req, variables(changed))
			same(t, loader, req, variables(base))
		}
		same(t, loader, req, variables(nil)) // refused: PLAIN is missing
	}
}

// TestLoaderOfCorpus loads what the golden tests load, twice.
func TestLoaderOfCorpus(t *testing.T) {
	archives, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		req := request(t, archive)
		loader, own := &compose.Loader{}, req.Lookup
		for range 2 {
			same(t, loader, req, own)
			same(t, loader, req, func(string) (string, bool) { return "1", true })
		}
	}
}

// change overwrites everything that can be reached.
func change(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			change(v.Elem())
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			change(field)
		}
	case reflect.Slice:
		for i := range v.Len() {
			change(v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			change(value)
			v.SetMapIndex(key, value)
		}
	default:
		if v.CanSet() {
			v.SetZero()
		}
	}
}

// TestLoaderRemembers takes the files away: what is known needs them no more, and what
// differs is not answered with it.
func TestLoaderRemembers(t *testing.T) {
	req := used(t)
	loader := &compose.Loader{}
	same(t, loader, req, variables(map[string]string{"PLAIN": "p"}))
	same(t, loader, req, variables(map[string]string{"PLAIN": "p", "TAG": "2"}))
	want, _ := with(req, map[string]string{"PLAIN": "p", "TAG": "2"})
	expected := load(t, want)
	if err := os.RemoveAll(req.Root); err != nil {
		t.Fatal(err)
	}
	again, _ := with(req, map[string]string{"PLAIN": "p", "TAG": "2", "NOBODY": "asks"})
	got, err := loader.Load(t.Context(), again)
	if diff := cmp.Diff(expected, got); diff != "" || err != nil {
		t.Errorf("error %v, (-want +got):\n%s", err, diff)
	}
	differs, _ := with(req, map[string]string{"PLAIN": "q"})
	if _, err := loader.Load(t.Context(), differs); err == nil {
		t.Error("another value is answered from memory")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := loader.Load(ended, again); !errors.Is(err, context.Canceled) {
		t.Errorf("a request that ended: %v", err)
	}
}
