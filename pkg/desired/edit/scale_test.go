package edit_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/desired/edit"
)

// sample is a copy of the sample repository.
func sample(tb testing.TB) string {
	tb.Helper()
	root := tb.TempDir()
	if err := os.CopyFS(root, os.DirFS("../../../desired-state")); err != nil {
		tb.Fatal(err)
	}
	return root
}

func put(tb testing.TB, root, name, text string) {
	tb.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// apply writes edits, after checking that each leaves all lines but the edited ones alone.
func apply(tb testing.TB, root string, edits []edit.Edit) {
	tb.Helper()
	for _, e := range edits {
		now, err := os.ReadFile(filepath.Join(root, e.Path))
		if err != nil {
			tb.Fatal(err)
		}
		if !bytes.Equal(now, e.Before) || bytes.Equal(e.Before, e.After) || e.Summary == "" || strings.Contains(e.Summary, "\n") {
			tb.Errorf("%s: not an edit of what is there: %q", e.Path, e.Summary)
		}
		if err := os.WriteFile(filepath.Join(root, e.Path), e.After, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}

// changed are the lines of an edit that are not in both texts, "-" and "+" in front.
func changed(e edit.Edit) []string {
	before, after := bytes.SplitAfter(e.Before, []byte("\n")), bytes.SplitAfter(e.After, []byte("\n"))
	for len(before) > 0 && len(after) > 0 && bytes.Equal(before[0], after[0]) {
		before, after = before[1:], after[1:]
	}
	for len(before) > 0 && len(after) > 0 && bytes.Equal(before[len(before)-1], after[len(after)-1]) {
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	var out []string
	for _, line := range before {
		out = append(out, "-"+string(line))
	}
	for _, line := range after {
		out = append(out, "+"+string(line))
	}
	return out
}

func TestSetScaleOfSample(t *testing.T) {
	root := sample(t)
	got, err := edit.SetScale(root, edit.Scale{Node: "b", Pool: "backtest", Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Edits) != 1 || got.Edits[0].Path != "nodes/b.yaml" || got.Edits[0].Summary != "scale backtest=3 on node b (was 1)" {
		t.Fatalf("edits %+v", got.Edits)
	}
	if diff := cmp.Diff([]string{"-    backtest: 1\n", "+    backtest: 3\n"}, changed(got.Edits[0])); diff != "" {
		t.Error(diff)
	}
	apply(t, root, got.Edits)
	if _, err := desired.Validate(t.Context(), root); err != nil {
		t.Error(err)
	}
	if again, err := edit.SetScale(root, edit.Scale{Node: "b", Pool: "backtest", Size: 3}); err != nil || len(again.Edits) != 0 {
		t.Errorf("the same scale again: %v %+v", err, again)
	}
}

const nodeHead = "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: b}\n"

// TestSetScaleStyles shows what becomes of files of all styles.
func TestSetScaleStyles(t *testing.T) {
	for name, c := range map[string]struct{ spec, want string }{
		"value":          {"spec:\n  stacks: [{name: workers}]\n  scale: {backtest: 1} # few\n", "spec:\n  stacks: [{name: workers}]\n  scale: {backtest: 2} # few\n"},
		"quoted":         {"spec:\n  stacks: [{name: workers}]\n  scale:\n    'backtest': !!int 1 # x\n", "spec:\n  stacks: [{name: workers}]\n  scale:\n    'backtest': !!int 2 # x\n"},
		"no scale":       {"spec:\n  # which\n  stacks:\n  - name: workers\n\n# the end\n", "spec:\n  # which\n  stacks:\n  - name: workers\n  scale:\n    backtest: 2\n\n# the end\n"},
		"no scale, wide": {"spec:\n    stacks:\n        - name: workers\n    capacity:\n        cpus: 1", "spec:\n    stacks:\n        - name: workers\n    capacity:\n        cpus: 1\n    scale:\n        backtest: 2"},
		"flow":           {"spec: {stacks: [{name: workers}]}\n", "spec: {scale: {backtest: 2}, stacks: [{name: workers}]}\n"},
		"flow, scalars":  {"spec: {stacks: [{name: workers}], hostname: h}\n", "spec: {stacks: [{name: workers}], hostname: h, scale: {backtest: 2}}\n"},
		"other pool":     {"spec:\n  scale:\n    # one\n    training: 1 # t\n  # after\n  stacks: [{name: workers}]\n", "spec:\n  scale:\n    # one\n    training: 1 # t\n    backtest: 2\n  # after\n  stacks: [{name: workers}]\n"},
		"empty":          {"spec:\n  scale:\n  # none\n  stacks: [{name: workers}]\n", "spec:\n  scale:\n    backtest: 2\n  # none\n  stacks: [{name: workers}]\n"},
		"empty mapping":  {"spec:\n  scale: {}\n  stacks: [{name: workers}]\n", "spec:\n  scale: {backtest: 2}\n  stacks: [{name: workers}]\n"},
		"null":           {"spec:\n  scale: ~ # none\n  stacks: [{name: workers}]\n", "spec:\n  scale: {backtest: 2} # none\n  stacks: [{name: workers}]\n"},
		"no value":       {"spec:\n  scale:\n    backtest:\n  stacks: [{name: workers}]\n", "spec:\n  scale:\n    backtest: 2\n  stacks: [{name: workers}]\n"},
		"alias":          {"spec:\n  stacks: [{name: &n workers}]\n  scale: {training: &one 1, backtest: *one}\n", "spec:\n  stacks: [{name: &n workers}]\n  scale: {training: &one 1, backtest: 2}\n"},
		"other alphabet": {"spec:\n  hostname: \"é😀\"\n  stacks: [{name: workers}]\n  scale: {\"bäcktest\": 3, ? backtest : 1 }\n", "spec:\n  hostname: \"é😀\"\n  stacks: [{name: workers}]\n  scale: {\"bäcktest\": 3, ? backtest : 2 }\n"},
		"text below":     {"spec:\n  stacks: [{name: workers}]\n  scale:\n    training: |\n      1\n      # text\n# comment\n", "spec:\n  stacks: [{name: workers}]\n  scale:\n    training: |\n      1\n      # text\n    backtest: 2\n# comment\n"},
	} {
		for _, ending := range []string{"\n", "\r\n"} {
			t.Run(name+strconv.Quote(ending), func(t *testing.T) {
				root := sample(t)
				convert := func(s string) string { return strings.ReplaceAll(nodeHead+s, "\n", ending) }
				put(t, root, "nodes/b.yaml", convert(c.spec))
				got, err := edit.SetScale(root, edit.Scale{Node: "b", Pool: "backtest", Size: 2})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(convert(c.want), string(got.Edits[0].After)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestSetScaleErrors(t *testing.T) {
	for name, c := range map[string]struct {
		spec string
		ask  edit.Scale
		want string
	}{
		"no such node": {"", edit.Scale{Node: "nobody", Pool: "backtest"}, "nodes/nobody.yaml:1:1: there is no node nobody; there are a, b, c, gpu"},
		"no node":      {"", edit.Scale{Node: "../fleet", Pool: "backtest"}, `"../fleet" is not the name of a node`},
		"no such pool": {"spec:\n  stacks: [{name: workers}]\n", edit.Scale{Node: "b", Pool: "backtset", Size: 1}, "nodes/b.yaml:5:3: no stack of node b has pool backtset: it has backtest, training"},
		"no pools":     {"spec:\n  stacks: [{name: core}]\n", edit.Scale{Node: "b", Pool: "backtest"}, "no stack of node b has a pool"},
		"negative":     {"spec:\n  stacks: [{name: workers}]\n", edit.Scale{Node: "b", Pool: "backtest", Size: -1}, "must be 0 or more"},
		"shared value": {"spec:\n  stacks: [{name: workers}]\n  scale: {backtest: &one 1, training: *one}\n", edit.Scale{Node: "b", Pool: "backtest", Size: 2}, "nodes/b.yaml:6:21: has the anchor &one, which other places use: edit it by hand"},
		"shared map":   {"spec:\n  stacks: [{name: workers}]\n  variables: &v {a: b}\n  scale: *v\n", edit.Scale{Node: "b", Pool: "backtest", Size: 2}, "nodes/b.yaml:7:10: is not a mapping of its own"},
		"many lines":   {"spec:\n  stacks: [{name: workers}]\n  scale:\n    backtest: >\n      1\n", edit.Scale{Node: "b", Pool: "backtest", Size: 2}, "nodes/b.yaml:7:15: goes over several lines"},
		"broken":       {"spec: [\n", edit.Scale{Node: "b", Pool: "backtest", Size: 2}, "nodes/b.yaml:4:1: invalid YAML"},
		"two":          {"spec: {stacks: [{name: workers}]}\n---\n{}\n", edit.Scale{Node: "b", Pool: "backtest", Size: 2}, "several YAML documents"},
		"bomb":         {"spec: &a [*a]\n", edit.Scale{Node: "b", Pool: "backtest", Size: 2}, "nested deeper"},
		"no spec":      {"", edit.Scale{Node: "b", Pool: "backtest", Size: 2}, "has no spec"},
	} {
		t.Run(name, func(t *testing.T) {
			root := sample(t)
			put(t, root, "nodes/b.yaml", nodeHead+c.spec)
			_, err := edit.SetScale(root, c.ask)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			var placed *desired.Error
			if !errors.As(err, &placed) && name != "no node" {
				t.Errorf("%v has no place", err)
			}
		})
	}
}

// TestSetScaleTouchesNothingElse draws files of many styles.
func TestSetScaleTouchesNothingElse(t *testing.T) {
	root := sample(t)
	rapid.Check(t, func(r *rapid.T) {
		text := drawNode(r)
		if err := os.WriteFile(filepath.Join(root, "nodes/b.yaml"), []byte(text), 0o600); err != nil {
			r.Fatal(err)
		}
		pool := rapid.SampledFrom([]string{"backtest", "training"}).Draw(r, "pool")
		size := rapid.IntRange(0, 12).Draw(r, "size")
		got, err := edit.SetScale(root, edit.Scale{Node: "b", Pool: pool, Size: size})
		if err != nil {
			r.Fatalf("%v\n%s", err, text)
		}
		after := text
		if len(got.Edits) > 0 {
			after = string(got.Edits[0].After)
			if lines := changed(got.Edits[0]); len(lines) > 4 {
				r.Fatalf("changed lines: %q", lines)
			}
		}
		var before, now struct {
			Spec map[string]any `yaml:"spec"`
		}
		if err := yaml.Unmarshal([]byte(text), &before); err != nil {
			r.Fatal(err)
		}
		if err := yaml.Unmarshal([]byte(after), &now); err != nil {
			r.Fatal(err)
		}
		scale, _ := before.Spec["scale"].(map[string]any)
		want := map[string]any{pool: size}
		for key, value := range scale {
			if key != pool {
				want[key] = value
			}
		}
		before.Spec["scale"] = want
		if diff := cmp.Diff(before.Spec, now.Spec); diff != "" {
			r.Fatalf("%s\nbefore:\n%s\nafter:\n%s", diff, text, after)
		}
	})
}

// drawNode makes a node's file: order, indentation, comments, quotes, style and line endings
// vary, and the scale may be anything from absent to complete.
func drawNode(r *rapid.T) string {
	step := strings.Repeat(" ", rapid.IntRange(1, 4).Draw(r, "indent"))
	comment := func(label string) string {
		return rapid.SampledFrom([]string{"", "", " # ä comment: {x}", "  #"}).Draw(r, label)
	}
	between := func(label string) string {
		return rapid.SampledFrom([]string{"", "", "\n", step + "# between\n", "# far left\n\n", step + step + step + "# far right\n"}).Draw(r, label)
	}
	scale := rapid.SampledFrom([]string{
		"", step + "scale:" + comment("a") + "\n", step + "scale: {}" + comment("b") + "\n", step + "scale: null\n",
		step + "scale: {backtest: 1, \"training\": 0}" + comment("c") + "\n", step + "scale: { 'training' : 4,\n" + step + step + "}\n",
		step + "scale:" + comment("d") + "\n" + step + step + "backtest: 7" + comment("e") + "\n" + between("f"),
		step + "scale:\n" + between("g") + step + step + "training: 1\n" + between("h") + step + step + "backtest: 2" + comment("i") + "\n",
	}).Draw(r, "scale")
	stacks := rapid.SampledFrom([]string{
		step + "stacks: [{name: workers}]\n", step + "stacks:\n" + step + "- name: workers" + comment("j") + "\n",
		step + "stacks:\n" + step + step + "- {name: 'workers'}\n" + between("k"),
	}).Draw(r, "stacks")
	rest := rapid.SampledFrom([]string{"", step + "hostname: \"é\"" + comment("l") + "\n", step + "variables:\n" + step + step + "A: |\n" + step + step + step + "# text\n"}).Draw(r, "rest")
	parts := rapid.Permutation([]string{stacks, rest, scale}).Draw(r, "order")
	text := nodeHead + "spec:" + comment("m") + "\n" + between("n") + strings.Join(parts, between("o")) + between("p")
	if rapid.Bool().Draw(r, "open end") {
		text = strings.TrimRight(text, "\n")
	}
	if rapid.Bool().Draw(r, "crlf") {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	if rapid.Bool().Draw(r, "bom") {
		text = "\ufeff" + text
	}
	return text
}

// FuzzSetScale feeds anything: no panic, and what is edited has the scale that was asked for.
func FuzzSetScale(f *testing.F) {
	for _, seed := range []string{"spec: {stacks: [{name: workers}]}", "spec:\n  scale: &a\n    x: *a\n", "? spec\n: scale: {}\n", "spec:\n  stacks: [{name: workers}]\n  scale:\n\n"} {
		f.Add([]byte(nodeHead + seed))
	}
	root := sample(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		put(t, root, "nodes/b.yaml", string(data))
		got, err := edit.SetScale(root, edit.Scale{Node: "b", Pool: "training", Size: 42})
		if err != nil || len(got.Edits) == 0 {
			return
		}
		var now struct {
			Spec struct {
				Scale map[string]any `yaml:"scale"`
			} `yaml:"spec"`
		}
		if err := yaml.Unmarshal(got.Edits[0].After, &now); err != nil || fmt.Sprint(now.Spec.Scale["training"]) != "42" {
			t.Errorf("%v: scale %v of %q", err, now.Spec.Scale, got.Edits[0].After)
		}
	})
}
