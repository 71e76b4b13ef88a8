package desired_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/desired"
)

// TestSliceIsIndependent shows that a mistake on another node does not concern this one.
func TestSliceIsIndependent(t *testing.T) {
	root := t.TempDir()
	copyTree(t, sample(t), root)
	before := text(t, mustLoad(t, root, "b"))
	for _, file := range []string{"nodes/a.yaml", "stacks/core/compose.yaml", "stacks/gpu/stack.yaml"} {
		if err := os.WriteFile(filepath.Join(root, file), []byte("broken: ["), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if after := text(t, mustLoad(t, root, "b")); before != after {
		t.Error(cmp.Diff(before, after))
	}
	if _, err := desired.Validate(t.Context(), root); err == nil || strings.Count(err.Error(), "invalid YAML") != 3 {
		t.Errorf("Validate tells %v", err)
	}
}

func TestConfinement(t *testing.T) {
	outside := t.TempDir()
	for _, name := range []string{"n.yaml", "stack.yaml", "fleet.yaml"} {
		if err := os.WriteFile(filepath.Join(outside, name), []byte("canary: outside"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"fleet.yaml": "fleet.yaml", "nodes/n.yaml": "n.yaml", "stacks/s/stack.yaml": "stack.yaml", "stacks/s": "", "nodes": "",
	} {
		t.Run(name, func(t *testing.T) {
			root := repo(t, "stacks: [{name: s}]", "{}", "services: {a: {image: a}}")
			if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Join(outside, target), filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
			got := report(t, root) + problems(t, root)
			if strings.Contains(got, "canary") || problems(t, root) == "" {
				t.Errorf("a way out of the repository: %s", got)
			}
		})
	}
}

func TestHostileFiles(t *testing.T) {
	entries := strings.Repeat("      - /a\n", 2000)
	bomb := "  stacks:\n    - &s\n      name: s\n      adoptFrom:\n" + entries + strings.Repeat("    - *s\n", 100)
	head := "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: n}\nspec:\n"
	cases := map[string]struct {
		data []byte
		want string
	}{
		"too large":   {bytes.Repeat([]byte("#"), 1<<20+1), "nodes/n.yaml:1:1: is larger than 1048576 bytes"},
		"not UTF-8":   {[]byte("a: \xff"), "nodes/n.yaml:1:1: is not UTF-8 text (byte 3)"},
		"alias bomb":  {[]byte(head + bomb), "more than 50000 values when aliases are expanded"},
		"deep":        {[]byte(strings.Repeat("[", 100_000)), "invalid YAML"},
		"not a map":   {[]byte("- a\n"), "nodes/n.yaml:1:1: must be a mapping, not a list"},
		"binary tag":  {[]byte(head + "  variables: {A: !!binary aGk=}\n"), "spec.variables.A: tags are not supported"},
		"custom tag":  {[]byte(head + "  variables: {A: !x y}\n"), "spec.variables.A: tags are not supported"},
		"complex key": {[]byte(head + "  variables: {[a]: b}\n"), "spec.variables: a key must be plain text"},
		"null":        {[]byte("null\n"), "nodes/n.yaml:1:1: apiVersion is missing"},
		"NUL":         {[]byte("a: \x00"), "invalid YAML"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := repo(t, "stacks: []", "{}", "")
			if err := os.WriteFile(filepath.Join(root, "nodes/n.yaml"), c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			if got := problems(t, root); !strings.Contains(got, c.want) {
				t.Errorf("got %.300s\nwant %s", got, c.want)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := desired.Load(ctx, desired.Request{Root: sample(t), Node: "b"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, request := range []desired.Request{{Root: "relative", Node: "a"}, {Root: "/nonexistent", Node: "a"}, {Root: sample(t), Node: "../a"}, {Root: sample(t), Node: "x"}} {
		if _, _, err := desired.Load(t.Context(), request); err == nil {
			t.Errorf("%+v: no error", request)
		}
	}
	d, _, err := desired.Load(t.Context(), desired.Request{Root: sample(t), Node: "b", Revision: "r9"})
	if err != nil || d.Revision != "r9" || d.Root != sample(t) || d.Node != "b" {
		t.Errorf("%+v, %v", d, err)
	}
}
