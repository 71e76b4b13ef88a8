package desired_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/desired"
)

// TestOrderDoesNotMatter shuffles the keys of every mapping of a repository that uses all
// fields, and the stacks of its node: the desired state must be the same, byte for byte.
func TestOrderDoesNotMatter(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/order/repository.txtar")
	if err != nil {
		t.Fatal(err)
	}
	root := write(t, archive.Files)
	want := text(t, mustLoad(t, root, "n"))
	rapid.Check(t, func(r *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0)) //nolint:gosec // a test's order
		for _, file := range archive.Files {
			var doc yaml.Node
			if err := yaml.Unmarshal(file.Data, &doc); err != nil {
				r.Fatal(err)
			}
			shuffle(random, &doc)
			data, err := yaml.Marshal(&doc)
			if err != nil {
				r.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, file.Name), data, 0o600); err != nil {
				r.Fatal(err)
			}
		}
		d, _, err := desired.Load(t.Context(), desired.Request{Root: root, Node: "n", Revision: "r1"})
		if err != nil {
			r.Fatal(err)
		}
		if got := text(t, d); got != want {
			r.Fatalf("the order of keys changes the desired state:\n%s", cmp.Diff(want, got))
		}
	})
}

// shuffle changes the order of the pairs of every mapping, and of lists of objects.
func shuffle(random *rand.Rand, node *yaml.Node) {
	step := 1
	if node.Kind == yaml.MappingNode {
		step = 2
	}
	if step == 2 || node.Kind == yaml.SequenceNode && len(node.Content) > 0 && node.Content[0].Kind == yaml.MappingNode {
		random.Shuffle(len(node.Content)/step, func(i, j int) {
			for k := range step {
				node.Content[i*step+k], node.Content[j*step+k] = node.Content[j*step+k], node.Content[i*step+k]
			}
		})
	}
	for _, child := range node.Content {
		shuffle(random, child)
	}
}

// TestScaleKeepsIdentity draws scales: slots 1..n run, no more, each as with any other scale.
func TestScaleKeepsIdentity(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/order/repository.txtar")
	if err != nil {
		t.Fatal(err)
	}
	root := write(t, archive.Files)
	file := filepath.Join(root, "nodes/n.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	rapid.Check(t, func(r *rapid.T) {
		list, slots := rapid.IntRange(0, 3).Draw(r, "list"), rapid.IntRange(0, 3).Draw(r, "slots")
		changed := strings.Replace(string(data), "{list: 2, slots: 2}", fmt.Sprintf("{list: %d, slots: %d}", list, slots), 1)
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			r.Fatal(err)
		}
		var want, got []string
		for slot := 1; slot <= list; slot++ {
			want = append(want, fmt.Sprintf("s-n-w%d-1", slot))
		}
		for slot := 1; slot <= slots; slot++ {
			want = append(want, fmt.Sprintf("w-%d", slot))
		}
		for _, service := range mustLoad(t, root, "n").Stacks[0].Services {
			for _, replica := range service.Replicas {
				if hash, ok := seen[replica.Name]; ok && hash != replica.SpecHash {
					r.Fatalf("%s is another container with scale %d, %d", replica.Name, list, slots)
				}
				seen[replica.Name] = replica.SpecHash
				got = append(got, replica.Name)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			r.Fatalf("scale %d, %d runs %v, want %v", list, slots, got, want)
		}
	})
}

// FuzzKinds feeds a file of each kind with anything: an error is *Error with places, the same
// each time, and no file makes it panic or loop.
func FuzzKinds(f *testing.F) {
	files := []string{"fleet.yaml", "nodes/n.yaml", "stacks/s/stack.yaml"}
	archive, err := txtar.ParseFile("testdata/order/repository.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archive.Files {
		if kind := slices.Index(files, file.Name); kind >= 0 {
			f.Add(byte(kind), file.Data)
		}
	}
	for kind := range files {
		for _, seed := range []string{"", "a: &a [*a]", "<<: {a: b}", "spec: {variables: {A: '${A}', B: '{{ op://x }}'}}", "? [a]\n: b", "--- \n---\n"} {
			f.Add(byte(kind), []byte(seed))
		}
	}
	root := repo(f, "stacks: [{name: s}]", "{}", "services: {a: {image: a}}")
	var valid [][]byte
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			f.Fatal(err)
		}
		valid = append(valid, data)
	}
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		chosen := int(kind) % len(files)
		for i, name := range files {
			content := valid[i]
			if i == chosen {
				content = data
			}
			if err := os.WriteFile(filepath.Join(root, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		first, second := report(t, root), report(t, root)
		if first != second {
			t.Errorf("two reports on one repository differ:\n%s\n%s", first, second)
		}
	})
}
