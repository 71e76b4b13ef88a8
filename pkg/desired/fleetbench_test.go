package desired_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"ktrdr.io/fleet/pkg/desired"
)

// BenchmarkFleet validates a fleet of 1,000 nodes with one stack of 20 services, and makes
// its slices, as a push to a controller does. With shared the Compose file reads the same
// on all nodes; with own every service has the node's name in its environment.
func BenchmarkFleet(b *testing.B) {
	const nodes = 1000
	for _, kind := range []string{"shared", "own"} {
		root := manyNodes(b, nodes, kind == "own")
		b.Run("validate/"+kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := desired.Validate(b.Context(), root); err != nil {
					b.Fatal(err)
				}
			}
		})
		// A file of another folder makes the slicer read the Compose files for each node.
		file := filepath.Join(root, "stacks/app/compose.yaml")
		data, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		data = append(data, "configs: {x: {file: \"../${STACK}/stack.yaml\"}}\n"...)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			b.Fatal(err)
		}
		b.Run("slice/"+kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sliceAll(b, root, nodes)
			}
		})
	}
}

func sliceAll(b *testing.B, root string, nodes int) {
	b.Helper()
	s, err := desired.NewSlicer(root)
	if err != nil {
		b.Fatal(err)
	}
	for i := range nodes {
		if _, err := s.Slice(b.Context(), fmt.Sprintf("n%d", i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// manyNodes is the repository of test/bench, whose services may have the node's name.
func manyNodes(tb testing.TB, nodes int, own bool) string {
	tb.Helper()
	value := "app"
	if own {
		value = "${NODE_NAME}"
	}
	var compose strings.Builder
	compose.WriteString("services:\n")
	for i := range 20 {
		fmt.Fprintf(&compose, "  service-%02d:\n    image: registry.example.org/team/service-%02d:v1\n    environment: {NAME: service-%02d, NODE: \"%s\"}\n", i, i, i, value)
	}
	files := []txtar.File{
		{Name: "fleet.yaml", Data: []byte("apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: bench}\nspec: {}\n")},
		{Name: "stacks/app/stack.yaml", Data: []byte("apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: app}\nspec: {}\n")},
		{Name: "stacks/app/compose.yaml", Data: []byte(compose.String())},
	}
	for i := range nodes {
		name := fmt.Sprintf("n%d", i)
		files = append(files, txtar.File{Name: "nodes/" + name + ".yaml", Data: []byte("apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: " + name + "}\nspec: {stacks: [{name: app}]}\n")})
	}
	return write(tb, files)
}
