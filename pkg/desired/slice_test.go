package desired_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
)

// materialise writes the files of a slice, and nothing else, into a new folder.
func materialise(tb testing.TB, s *desired.Slicer, slice desired.Slice, dir string) {
	tb.Helper()
	for _, file := range slice.Files {
		data, err := s.Read(file)
		if err != nil {
			tb.Fatal(err)
		}
		name := filepath.Join(dir, file.Path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(name, data, file.Mode); err != nil {
			tb.Fatal(err)
		}
	}
}

// result is all that Load says about a node, without the folder.
type result struct {
	Desired  *api.Desired
	Warnings []desired.Problem
	Err      string
}

func loaded(ctx context.Context, root, node string) result {
	d, warnings, err := desired.Load(ctx, desired.Request{Root: root, Node: node, Revision: "r1"})
	if d != nil {
		d.Root = ""
	}
	return result{d, warnings, fmt.Sprint(err)}
}

// sameAlone fails when a node's slice loads differently from the whole repository.
func sameAlone(tb testing.TB, root, node string) desired.Slice {
	tb.Helper()
	s, err := desired.NewSlicer(root)
	if err != nil {
		tb.Fatal(err)
	}
	defer s.Close()
	return sameOf(tb, s, root, node)
}

func sameOf(tb testing.TB, s *desired.Slicer, root, node string) desired.Slice {
	tb.Helper()
	slice, err := s.Slice(context.Background(), node) //nolint:usetesting // rapid's T has no context
	if err != nil {
		tb.Fatal(err)
	}
	if slice.Node != node || slice.Digest != desired.SliceDigest(slice.Files) {
		tb.Errorf("the slice is of node %q, digest %s", slice.Node, slice.Digest)
	}
	alone, err := os.MkdirTemp("", "slice-") //nolint:usetesting // rapid calls this many times in one test
	if err != nil {
		tb.Fatal(err)
	}
	defer os.RemoveAll(alone)
	materialise(tb, s, slice, alone)
	ctx := context.Background() //nolint:usetesting // as above
	if diff := cmp.Diff(loaded(ctx, root, node), loaded(ctx, alone, node)); diff != "" {
		tb.Fatalf("node %s: its slice loads differently (-repository +slice):\n%s\nslice: %v", node, diff, paths(slice))
	}
	return slice
}

func paths(slice desired.Slice) []string {
	var out []string
	for _, file := range slice.Files {
		out = append(out, file.Path)
	}
	return out
}

func TestSliceOfSample(t *testing.T) {
	want := map[string][]string{
		"a":   {"fleet.yaml", "nodes/a.yaml", "stacks/connect/", "stacks/core/"},
		"b":   {"fleet.yaml", "nodes/b.yaml", "stacks/workers/"},
		"c":   {"fleet.yaml", "nodes/c.yaml", "stacks/workers/"},
		"gpu": {"fleet.yaml", "nodes/gpu.yaml", "stacks/gpu/"},
	}
	for node, want := range want {
		var got []string
		for _, name := range paths(sameAlone(t, sample(t), node)) {
			if parts := strings.SplitN(name, "/", 3); len(parts) == 3 {
				name = parts[0] + "/" + parts[1] + "/"
			}
			got = append(got, name)
		}
		if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
			t.Errorf("node %s (-want +got):\n%s", node, diff)
		}
	}
}

// outside is a repository whose stack s uses files of all kinds from elsewhere. The stack
// other and node m concern nobody.
func outside(tb testing.TB) string {
	tb.Helper()
	root := write(tb, txtar.Parse([]byte(`
-- fleet.yaml --
apiVersion: ktrdr.io/v1alpha1
kind: Fleet
metadata: {name: f}
spec: {variables: {SHARED: ../../shared, DOT: ., ON: always}}
-- nodes/n.yaml --
apiVersion: ktrdr.io/v1alpha1
kind: Node
metadata: {name: n}
spec: {stacks: [{name: s}]}
-- nodes/m.yaml --
apiVersion: ktrdr.io/v1alpha1
kind: Node
metadata: {name: m}
spec: {stacks: [{name: other}]}
-- nodes/k.yaml --
apiVersion: ktrdr.io/v1alpha1
kind: Node
metadata: {name: k}
spec: {stacks: [{name: s, variables: {DOT: own.env, SHARED: ., ON: never}}]}
-- stacks/other/stack.yaml --
apiVersion: ktrdr.io/v1alpha1
kind: Stack
metadata: {name: other}
spec: {}
-- stacks/other/compose.yaml --
services: {a: {image: a, volumes: ["./mine:/x:ro"]}}
-- stacks/other/mine --
mine
-- stacks/s/stack.yaml --
apiVersion: ktrdr.io/v1alpha1
kind: Stack
metadata: {name: s}
spec: {profiles: [always]}
-- stacks/s/own.env --
OWN=1
-- stacks/s/unused/file --
counts, as all of the folder does
-- shared/base.yaml --
services: {base: {image: base, env_file: [base.env]}}
-- shared/base.env --
BASE=1
-- shared/inc/compose.yaml --
services: {included: {image: "included:${INC}", label_file: [labels]}}
-- shared/inc/labels --
a=b
-- shared/inc/vars.env --
INC=2
-- shared/inc/.env --
NOT=read
-- shared/conf/a --
a
-- shared/conf/deep/b --
b
-- shared/plain.env --
PLAIN=1
-- shared/seccomp.json --
{}
-- shared/nobody --
uses this
`)).Files)
	if err := os.Chmod(filepath.Join(root, "shared/conf/a"), 0o755); err != nil { //nolint:gosec // an executable
		tb.Fatal(err)
	}
	for link, to := range map[string]string{
		"stacks/s/link.env": "../../shared/plain.env", "stacks/s/dangling": "nowhere", "stacks/s/linked": "../../shared/inc",
	} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			tb.Fatal(err)
		}
	}
	return root
}

// uses are services of stack s, with what each takes from outside of its folder.
func uses() map[string][]string {
	return map[string][]string{
		"a: {image: a, env_file: [../../shared/plain.env]}":                               {"shared/plain.env"},
		"b: {image: b, env_file: ['${SHARED}/plain.env', own.env]}":                       {"shared/plain.env"},
		"c: {image: c, env_file: ['.${DOT}/.${DOT}/shared/plain.env']}":                   {"shared/plain.env"},
		"d: {image: d, env_file: [\"\\x2e\\x2e/\\x2e./shared/plain.env\"]}":               {"shared/plain.env"},
		"e: {image: e, env_file: [link.env]}":                                             {"stacks/s/link.env"},
		"f: {extends: {file: ../../shared/base.yaml, service: base}}":                     {"shared/base.env", "shared/base.yaml"},
		"g: {image: g, volumes: ['../../shared/conf:/conf:ro']}":                          {"shared/conf/a", "shared/conf/deep/b"},
		"h: {image: h, volumes: [{type: bind, source: ../../shared/conf/a, target: /a}]}": {"shared/conf/a"},
		"i: {image: i, configs: [c]}":                                                     {"shared/conf/deep/b"},
		"j: {image: j, security_opt: ['seccomp=../../shared/seccomp.json']}":              {"shared/seccomp.json"},
		"k: {image: k, label_file: [../../shared/inc/labels]}":                            {"shared/inc/labels"},
		"l: {image: l, env_file: [{path: ../../shared/absent.env, required: false}]}":     {},
		"m: {image: m, env_file: [own.env], command: '.. ${DOT}'}":                        {},
		"n: {image: n, env_file: [linked/vars.env]}":                                      {"stacks/s/linked/vars.env"},
		"o: {image: o, build: {context: ../..}}":                                          {},
	}
}

const definitions = "\nconfigs: {c: {file: ../../shared/conf/deep/b}}\n"

// TestSliceHasWhatIsUsed shows one use after the other, and what the slice gets by it.
func TestSliceHasWhatIsUsed(t *testing.T) {
	root := outside(t)
	own := []string{"stacks/s/compose.yaml", "stacks/s/own.env", "stacks/s/stack.yaml", "stacks/s/unused/file"}
	for use, extra := range uses() {
		if err := os.WriteFile(filepath.Join(root, "stacks/s/compose.yaml"), []byte("services:\n  "+use+definitions), 0o600); err != nil {
			t.Fatal(err)
		}
		want := slices.Concat([]string{"fleet.yaml", "nodes/n.yaml"}, own, extra)
		slices.Sort(want)
		if diff := cmp.Diff(want, paths(sameAlone(t, root, "n"))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", use, diff)
		}
		if got := loaded(t.Context(), root, "n"); got.Desired == nil {
			t.Errorf("%s does not load: %s", use, got.Err)
		}
	}
}

func TestSliceOfInclude(t *testing.T) {
	root := outside(t)
	for _, include := range []string{
		"[../../shared/inc/compose.yaml]",
		"[{path: ../../shared/inc/compose.yaml, env_file: ../../shared/inc/vars.env}]",
		"[{path: linked/compose.yaml, env_file: linked/vars.env}]",
	} {
		compose := "include: " + include + "\nservices: {a: {image: a}}\n"
		if err := os.WriteFile(filepath.Join(root, "stacks/s/compose.yaml"), []byte(compose), 0o600); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(paths(sameAlone(t, root, "n")), " ")
		if !strings.Contains(got, "compose.yaml stacks/s/linked/") && !strings.Contains(got, "shared/inc/compose.yaml shared/inc/") {
			t.Errorf("include %s: %s", include, got)
		}
	}
}

// TestSliceAlone draws mixes of uses, broken ones among them.
func TestSliceAlone(t *testing.T) {
	root := outside(t)
	all := append(slices.Sorted(keys(uses())),
		"p: {image: p, env_file: [../../shared/absent.env]}", "q: {image: q, env_file: [../../../etc/passwd]}",
		"r: {image: 'r:${UNSET}'}", "s: {image: s, volumes: ['..:/stacks:ro']}", "t: &t {image: t}", "u: {<<: *t, env_file: ../other/mine}",
		"v: {image: v, profiles: ['${ON}'], env_file: ../../shared/plain.env}", "w: {image: w, profiles: [never], env_file: ../../shared/plain.env}")
	rapid.Check(t, func(r *rapid.T) {
		chosen := rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, 4, rapid.ID[string]).Draw(r, "services")
		compose := "services:\n  " + strings.Join(chosen, "\n  ") + definitions
		if err := os.WriteFile(filepath.Join(root, "stacks/s/compose.yaml"), []byte(compose), 0o600); err != nil {
			r.Fatal(err)
		}
		if strings.Contains(compose, "/etc/passwd") || strings.Contains(compose, "..:/stacks") {
			// A refusal of a link or an escape may name more than the slice has; slicing itself must work.
			if _, err := desired.SliceOf(t.Context(), root, "n"); err != nil {
				r.Fatal(err)
			}
			return
		}
		s, err := desired.NewSlicer(root)
		if err != nil {
			r.Fatal(err)
		}
		defer s.Close()
		for _, node := range rapid.Permutation([]string{"n", "k", "m"}).Draw(r, "nodes") {
			sameOf(t, s, root, node)
		}
	})
}

// TestSliceDigest changes files one by one: only those of the slice count.
func TestSliceDigest(t *testing.T) {
	root := outside(t)
	compose := "services:\n  a: {image: a, volumes: ['../../shared/conf:/conf:ro']}\n"
	if err := os.WriteFile(filepath.Join(root, "stacks/s/compose.yaml"), []byte(compose), 0o600); err != nil {
		t.Fatal(err)
	}
	digest := func() string {
		slice, err := desired.SliceOf(t.Context(), root, "n")
		if err != nil {
			t.Fatal(err)
		}
		return slice.Digest
	}
	for name, concerns := range map[string]bool{
		"fleet.yaml": true, "nodes/n.yaml": true, "stacks/s/unused/file": true, "shared/conf/deep/b": true, "stacks/s/new": true,
		"nodes/m.yaml": false, "stacks/other/compose.yaml": false, "shared/nobody": false, "shared/plain.env": false, "README.md": false,
	} {
		before := digest()
		file := filepath.Join(root, name)
		old, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(slices.Clip(old), "\n# changed\n"...), 0o600); err != nil {
			t.Fatal(err)
		}
		if changed := digest() != before; changed != concerns {
			t.Errorf("%s: the digest changed: %t, want %t", name, changed, concerns)
		}
	}
	before := digest()
	if err := os.Chmod(filepath.Join(root, "shared/conf/deep/b"), 0o755); err != nil { //nolint:gosec // an executable
		t.Fatal(err)
	}
	if digest() == before {
		t.Error("an executable bit must change the digest")
	}
}

func TestSliceErrors(t *testing.T) {
	root := outside(t)
	for _, node := range []string{"", "../n", "nobody", "N"} {
		if _, err := desired.SliceOf(t.Context(), root, node); err == nil {
			t.Errorf("node %q has a slice", node)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := desired.SliceOf(ctx, root, "n"); err == nil {
		t.Error("a cancelled slice must be an error")
	}
	big := filepath.Join(root, "stacks/s/big")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, desired.MaxSliceBytes+1); err != nil {
		t.Fatal(err)
	}
	if _, err := desired.SliceOf(t.Context(), root, "n"); err == nil || !strings.Contains(err.Error(), "stacks/s/big:1:1: is larger than 64 MiB") {
		t.Errorf("a huge file: %v", err)
	}
	if err := os.Truncate(big, desired.MaxSliceBytes); err != nil {
		t.Fatal(err)
	}
	if _, err := desired.SliceOf(t.Context(), root, "n"); err == nil || !strings.Contains(err.Error(), "more than 10000 files or 64 MiB") {
		t.Errorf("a huge folder: %v", err)
	}
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}
