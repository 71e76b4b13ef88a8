package desired_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/desired"
)

// said is all that is told about a repository and its nodes.
type said struct {
	Warnings []desired.Problem
	Problems []desired.Problem
	Err      string
	Built    []desired.Built
	Slices   []desired.Slice
	Refused  []string
}

// say validates, builds and slices with and without memory.
func say(ctx context.Context, root string) (plain, remembered said, err error) {
	for _, kind := range []struct {
		out       *said
		validate  func(context.Context, string) ([]desired.Problem, error)
		slicer    func(string) (*desired.Slicer, error)
		remembers bool
	}{
		{&plain, desired.ValidatePlain, desired.NewPlainSlicer, false},
		{&remembered, desired.Validate, desired.NewSlicer, true},
	} {
		warnings, failed := kind.validate(ctx, root)
		kind.out.Warnings, kind.out.Err = warnings, fmt.Sprint(failed)
		if all, ok := errors.AsType[*desired.Error](failed); ok {
			kind.out.Problems = all.Problems
		}
		if kind.out.Built, err = desired.BuildAll(ctx, root, kind.remembers); err != nil {
			return plain, remembered, err
		}
		if err := kind.out.slice(ctx, root, kind.slicer); err != nil {
			return plain, remembered, err
		}
	}
	return plain, remembered, nil
}

func (s *said) slice(ctx context.Context, root string, slicer func(string) (*desired.Slicer, error)) error {
	nodes, err := desired.Nodes(ctx, root)
	if err != nil {
		return err
	}
	opened, err := slicer(root)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		slice, err := opened.Slice(ctx, node)
		s.Slices, s.Refused = append(s.Slices, slice), append(s.Refused, fmt.Sprint(err))
	}
	return opened.Close()
}

// TestMemoryOfArchives reads each repository that a test has with and without memory.
func TestMemoryOfArchives(t *testing.T) {
	archives, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	roots := map[string]string{"sample": sample(t), "outside": outside(t)}
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		roots[name] = write(t, archive.Files)
	}
	for name, root := range roots {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			plain, remembered, err := say(t.Context(), root)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(plain, remembered); diff != "" {
				t.Errorf("memory changes what is said (-without +with):\n%s", diff)
			}
		})
	}
}

// TestMemory draws fleets whose nodes share stacks and differ in some variables, in what is
// wrong with them, in scales, profiles of the stack and names of the project.
func TestMemory(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		root, err := os.MkdirTemp("", "memory-") //nolint:usetesting // rapid calls this many times in one test
		if err != nil {
			r.Fatal(err)
		}
		defer os.RemoveAll(root)
		for _, file := range drawFleet(r) {
			name := filepath.Join(root, file.Name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				r.Fatal(err)
			}
			if err := os.WriteFile(name, file.Data, 0o600); err != nil {
				r.Fatal(err)
			}
		}
		plain, remembered, err := say(t.Context(), root)
		if err != nil {
			r.Fatal(err)
		}
		if diff := cmp.Diff(plain, remembered); diff != "" {
			r.Fatalf("memory changes what is said (-without +with):\n%s", diff)
		}
	})
}

// memoryCompose uses variables in each way that can differ between nodes.
const memoryCompose = `
include: [{path: "../../shared/${PART:-one}.yaml", env_file: ../../shared/own.env}]
services:
  a:
    image: "a:${TAG:-latest}"
    env_file: [{path: "${WHERE:-x}.env", required: false}]
    environment: {A: "${A-}", NAME: "${STACK}", BARE: , LINK: "${LINK-}", DB_PASSWORD: "${HIDDEN-}"}
    volumes: ["../../shared/${DIR:-data}:/data:ro"]
    depends_on: [w1]
    scale: "${SCALE:-1}"
  w1: {image: w, profiles: [workers], command: [run, "${A:+more}"]}
  w2: {image: w, profiles: [workers], depends_on: {w1: {condition: service_started, required: false}}}
  t: {image: "t:${REPLICA}", profiles: [t], ports: ["${PORT}:80"], networks: [extra]}
  e: {extends: {file: ../../shared/base.yaml, service: base}}
networks: {extra: {}}
`

const memoryStack = `
  workingDirectory: "${HOME_OF:-/opt/s}"
  project: "${PROJECT_OF:-s}"
  profiles: [%s]
  variables: {SELF: "${LINK2-x}", LOOP: "${LOOP2-}", LOOP2: "${A_LOOP-}"}
  contract: [{name: TAG, optional: true, pattern: "[0-9]*"}]
  pools:
    list: {services: [w1, w2], default: 1, registration: {url: "http://b/${STACK}", match: {n: "${A-}"}}}
    slots: {template: t, default: 1, max: 3, nextPort: 9000}
  services:
    a: {environment: [{name: A, optional: true, pattern: "[a-z]*"}]}
`

// drawFleet makes a fleet of nodes that have few values to differ in.
func drawFleet(r *rapid.T) []txtar.File {
	head := func(kind, name string) string {
		return fmt.Sprintf("apiVersion: ktrdr.io/v1alpha1\nkind: %s\nmetadata: {name: %s}\nspec:\n", kind, name)
	}
	values := map[string][]string{
		"TAG": {"1", "bad", "${TAG}"}, "A": {"", "x", "X", "${B-}"}, "WHERE": {"y", "none"}, "BARE": {"", "b"}, "DIR": {"data", "else", "gone"},
		"PART": {"one", "two", "three"}, "SCALE": {"2", "x"}, "HOME_OF": {"/opt/h", "relative"}, "PROJECT_OF": {"p", "P"}, "OWN": {"o"},
		"LINK": {"${LINK2-}", "${NODE_NAME}", "op://v/i/f"}, "LINK2": {"${LINK-}", "l"}, "HIDDEN": {"abc", "op://v/i/f"}, "NOBODY": {"n"},
		"A_LOOP": {"${LOOP}", "a"}, "INNER": {"i"}, "BASE": {"b", "op://v/i"},
	}
	variables := func(label string) string {
		var out []string
		for _, name := range []string{
			"TAG", "A", "WHERE", "BARE", "DIR", "PART", "SCALE", "HOME_OF", "PROJECT_OF", "OWN", "LINK", "LINK2", "HIDDEN", "NOBODY", "A_LOOP", "INNER", "BASE",
		} {
			if rapid.IntRange(0, 19).Draw(r, label+name) == 0 {
				out = append(out, fmt.Sprintf("%s: '%s'", name, rapid.SampledFrom(values[name]).Draw(r, "value")))
			}
		}
		return "{" + strings.Join(out, ", ") + "}"
	}
	stack := fmt.Sprintf(memoryStack, rapid.SampledFrom([]string{"", "workers", "t"}).Draw(r, "profiles"))
	files := []txtar.File{
		{Name: "fleet.yaml", Data: []byte(head("Fleet", "f") + "  variables: " + variables("fleet") + "\n")},
		{Name: "stacks/s/stack.yaml", Data: []byte(head("Stack", "s") + stack)},
		{Name: "stacks/s/compose.yaml", Data: []byte(memoryCompose)},
		{Name: "stacks/s/x.env", Data: []byte("X=${INNER-x}\n")},
		{Name: "stacks/s/y.env", Data: []byte("Y=1\n")},
		{Name: "stacks/other/stack.yaml", Data: []byte(head("Stack", "other") + "  workingDirectory: /opt/other\n")},
		{Name: "stacks/other/compose.yaml", Data: []byte("services: {o: {image: \"o:${TAG-1}\", volumes: [\"./x:/x\"]}}\n")},
		{Name: "shared/one.yaml", Data: []byte("services: {i: {image: \"i:${OWN}\"}}\n")},
		{Name: "shared/two.yaml", Data: []byte("services: {j: {image: \"j:${INNER:-1}\", environment: {N: \"${NODE_NAME}\"}}}\n")},
		{Name: "shared/own.env", Data: []byte("OWN=own${BARE-}\n")},
		{Name: "shared/base.yaml", Data: []byte("services: {base: {image: base, environment: {B: \"${BASE-}\"}}}\n")},
		{Name: "shared/data/file", Data: []byte("1")},
		{Name: "shared/else/file", Data: []byte("2")},
	}
	for i := range rapid.IntRange(1, 4).Draw(r, "nodes") {
		name := fmt.Sprintf("n%d", i)
		spec := "  stacks: [{name: s, variables: " + variables("placed") + "}, {name: other}]\n  variables: " + variables(name) + "\n"
		if rapid.Bool().Draw(r, "scaled") {
			spec += fmt.Sprintf("  scale: {list: %d, slots: %d}\n", rapid.IntRange(0, 3).Draw(r, "list"), rapid.IntRange(0, 4).Draw(r, "slots"))
		}
		files = append(files, txtar.File{Name: "nodes/" + name + ".yaml", Data: []byte(head("Node", name) + spec)})
	}
	return files
}
