package edit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/desired/edit"
)

// images of a node's containers, by container.
func images(tb testing.TB, root, node string) map[string]string {
	tb.Helper()
	d, _, err := desired.Load(tb.Context(), desired.Request{Root: root, Node: node})
	if err != nil {
		tb.Fatalf("load node %s:\n%v", node, err)
	}
	out := map[string]string{}
	each(d, func(replica *api.Replica) { out[replica.Name] = replica.Spec.Image })
	return out
}

// hashes of a node's containers, by container.
func hashes(tb testing.TB, root, node string) map[string]string {
	tb.Helper()
	d, _, err := desired.Load(tb.Context(), desired.Request{Root: root, Node: node})
	if err != nil {
		tb.Fatalf("load node %s:\n%v", node, err)
	}
	out := map[string]string{}
	each(d, func(replica *api.Replica) { out[replica.Name] = replica.SpecHash })
	return out
}

func each(d *api.Desired, do func(*api.Replica)) {
	for i := range d.Stacks {
		for j := range d.Stacks[i].Services {
			for k := range d.Stacks[i].Services[j].Replicas {
				do(&d.Stacks[i].Services[j].Replicas[k])
			}
		}
	}
}

const tag = "sha-a1b2c3d"

// TestDeployBackend is acceptance scenario 8: only the containers of the backend's image change.
func TestDeployBackend(t *testing.T) {
	root := sample(t)
	_, err := edit.SetTag(root, edit.Target{Stack: "core", Services: []string{"backend"}}, tag)
	const want = "stacks/core/compose.yaml:26:12: the tag of backend is ${IMAGE_TAG}, which mcp uses as well: name them too, or give backend something of its own"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want %q", err, want)
	}
	for _, target := range []edit.Target{
		{Stack: "core", Services: []string{"backend"}, Along: true},
		{Stack: "core", Services: []string{"mcp", "backend"}},
		{Stack: "core"},
	} {
		root := sample(t)
		before := hashes(t, root, "a")
		got, err := edit.SetTag(root, target, tag)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"backend", "mcp"}, got.Services); diff != "" || len(got.Notes) > 0 || len(got.Edits) != 1 {
			t.Fatalf("services %s, notes %v, edits %d", diff, got.Notes, len(got.Edits))
		}
		if diff := cmp.Diff([]string{"-    IMAGE_TAG: sha-de00001\n", "+    IMAGE_TAG: sha-a1b2c3d\n"}, changed(got.Edits[0])); diff != "" {
			t.Error(diff)
		}
		if want := "deploy core backend mcp to sha-a1b2c3d (was sha-de00001)"; got.Edits[0].Summary != want || got.Edits[0].Path != "stacks/core/stack.yaml" {
			t.Errorf("summary %q of %s", got.Edits[0].Summary, got.Edits[0].Path)
		}
		apply(t, root, got.Edits)
		for name, hash := range hashes(t, root, "a") {
			if is, want := hash != before[name], name == "ktrdr-backend" || name == "ktrdr-mcp"; is != want {
				t.Errorf("container %s changed: %t, want %t", name, is, want)
			}
		}
	}
}

func TestDeployOneNode(t *testing.T) {
	root := sample(t)
	got, err := edit.SetTag(root, edit.Target{Stack: "workers", Nodes: []string{"b"}}, tag)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"+      variables:\n", "+        IMAGE_TAG: sha-a1b2c3d\n"}, changed(got.Edits[0])); diff != "" || got.Edits[0].Path != "nodes/b.yaml" {
		t.Errorf("%s: %s", got.Edits[0].Path, diff)
	}
	apply(t, root, got.Edits)
	if _, err := desired.Validate(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	for node, want := range map[string]string{"b": tag, "c": "sha-de00001"} {
		if got := images(t, root, node)["backtest-worker-1"]; !strings.HasSuffix(got, ":"+want) {
			t.Errorf("node %s runs %s, want tag %s", node, got, want)
		}
	}
	// For the whole stack the node's own value is told of, and stays.
	all, err := edit.SetTag(root, edit.Target{Stack: "workers"}, "sha-0000001")
	if err != nil {
		t.Fatal(err)
	}
	want := desired.Problem{File: "nodes/b.yaml", Line: 15, Column: 9, Message: "node b has IMAGE_TAG of its own, which stays in force there: deploy to the node to change it"}
	if diff := cmp.Diff([]desired.Problem{want}, all.Notes); diff != "" {
		t.Error(diff)
	}
	apply(t, root, all.Edits)
	for node, want := range map[string]string{"b": tag, "c": "sha-0000001"} {
		if got := images(t, root, node)["backtest-worker-1"]; !strings.HasSuffix(got, ":"+want) {
			t.Errorf("node %s runs %s, want tag %s", node, got, want)
		}
	}
	again, err := edit.SetTag(root, edit.Target{Stack: "workers", Nodes: []string{"b"}}, tag)
	if err != nil || len(again.Edits) > 0 || len(again.Services) > 0 {
		t.Errorf("the same tag again: %v %+v", err, again)
	}
}

// fleetOf makes a repository of stack s on nodes n and m.
func fleetOf(tb testing.TB, fleet, stack, node, compose string) string {
	tb.Helper()
	root := tb.TempDir()
	head := func(kind, name string) string {
		return fmt.Sprintf("apiVersion: ktrdr.io/v1alpha1\nkind: %s\nmetadata: {name: %s}\n", kind, name)
	}
	put(tb, root, "fleet.yaml", head("Fleet", "f")+"spec: {variables: "+fleet+"}\n")
	put(tb, root, "nodes/n.yaml", head("Node", "n")+"spec: "+node+"\n")
	put(tb, root, "nodes/m.yaml", head("Node", "m")+"spec: {stacks: [{name: s}]}\n")
	put(tb, root, "stacks/s/stack.yaml", head("Stack", "s")+"spec: {variables: "+stack+"}\n")
	put(tb, root, "stacks/other/stack.yaml", head("Stack", "other")+"spec: {}\n")
	put(tb, root, "stacks/other/compose.yaml", "services: {o: {image: 'o:${T:-1}'}}\n")
	put(tb, root, "stacks/s/compose.yaml", compose)
	put(tb, root, "shared/base.yaml", "services: {base: {image: 'base:${T}'}}\n")
	return root
}

// TestSetTag shows where the tag is written, and what containers of both nodes run then.
func TestSetTag(t *testing.T) {
	const plain = "{stacks: [{name: s}]}"
	for name, c := range map[string]struct {
		fleet, stack, node, compose string
		target                      edit.Target
		path, n, m                  string
	}{
		"stack":            {"{}", "{T: one}", plain, "services: {a: {image: 'a:${T}'}}", edit.Target{}, "stacks/s/stack.yaml", "a:two", "a:two"},
		"only fleet":       {"{T: one}", "{X: '${T}'}", plain, "services: {a: {image: 'a:$T'}}", edit.Target{Services: []string{"a"}}, "stacks/s/stack.yaml", "a:two", "a:two"},
		"default":          {"{}", "{}", plain, "services: {a: {image: 'a:${T:-latest}'}}", edit.Target{}, "stacks/s/stack.yaml", "a:two", "a:two"},
		"around":           {"{}", "{T: o}", plain, "services: {a: {image: 'h:5/a:t${T}o'}}", edit.Target{}, "stacks/s/stack.yaml", "h:5/a:two", "h:5/a:two"},
		"whole image":      {"{}", "{I: 'h:5/a:one'}", plain, "services: {a: {image: '${I}'}}", edit.Target{}, "stacks/s/stack.yaml", "h:5/a:two", "h:5/a:two"},
		"whole, default":   {"{}", "{}", plain, "services: {a: {image: '${I:-h/a:one}'}}", edit.Target{}, "stacks/s/stack.yaml", "h/a:two", "h/a:two"},
		"nested":           {"{}", "{I: 'a:${T}', T: one}", plain, "services: {a: {image: '${I}'}}", edit.Target{}, "stacks/s/stack.yaml", "a:two", "a:two"},
		"literal":          {"{}", "{}", plain, "services:\n  a:\n    image: \"a:one\" # x\n", edit.Target{Services: []string{"a"}}, "stacks/s/compose.yaml", "a:two", "a:two"},
		"no tag":           {"{H: h}", "{}", plain, "services: {a: {image: '${H:-x}/a'}}", edit.Target{Services: []string{"a"}}, "stacks/s/compose.yaml", "h/a:two", "h/a:two"},
		"node, stack":      {"{}", "{T: one}", "{stacks: [{name: s, variables: {T: own}}], variables: {T: node}}", "services: {a: {image: 'a:${T}'}}", edit.Target{Nodes: []string{"n"}}, "nodes/n.yaml", "a:two", "a:one"},
		"node":             {"{}", "{T: one}", "{stacks: [{name: s}], variables: {T: node}}", "services: {a: {image: 'a:${T}'}}", edit.Target{Nodes: []string{"n"}}, "nodes/n.yaml", "a:two", "a:one"},
		"node, other uses": {"{}", "{T: one}", "{stacks: [{name: s}, {name: other}], variables: {T: node}}", "services: {a: {image: 'a:${T}'}}", edit.Target{Nodes: []string{"n"}}, "nodes/n.yaml", "a:two o:node", "a:one"},
		"node, whole":      {"{}", "{I: 'a:one'}", plain, "services: {a: {image: '${I}'}}", edit.Target{Nodes: []string{"n"}}, "nodes/n.yaml", "a:two", "a:one"},
		"shadowed":         {"{}", "{T: one}", "{stacks: [{name: s}], variables: {T: node}}", "services: {a: {image: 'a:${T}'}}", edit.Target{}, "stacks/s/stack.yaml", "a:node", "a:two"},
		"extended":         {"{}", "{T: one}", plain, "services: {a: {extends: {file: ../../shared/base.yaml, service: base}}}", edit.Target{}, "stacks/s/stack.yaml", "base:two", "base:two"},
		"included":         {"{}", "{T: one}", plain, "include: [../../shared/base.yaml]", edit.Target{Services: []string{"base"}}, "stacks/s/stack.yaml", "base:two", "base:two"},
		"merged":           {"{}", "{T: one}", plain, "x-a: &a {image: 'a:${T}'}\nservices: {a: {<<: *a}}", edit.Target{}, "stacks/s/stack.yaml", "a:two", "a:two"},
		"shell variable":   {"{}", "{T: one}", plain, "services: {a: {image: 'a:${T}'}, b: {image: 'b:1', command: 'echo $$T'}}", edit.Target{Services: []string{"a"}}, "stacks/s/stack.yaml", "a:two b:1", "a:two b:1"},
		"all of them":      {"{}", "{T: one}", plain, "services: {a: {image: 'a:${T}'}, b: {image: 'b:${T}'}}", edit.Target{Services: []string{"b", "a"}}, "stacks/s/stack.yaml", "a:two b:two", "a:two b:two"},
	} {
		t.Run(name, func(t *testing.T) {
			root := fleetOf(t, c.fleet, c.stack, c.node, c.compose)
			c.target.Stack = "s"
			got, err := edit.SetTag(root, c.target, "two")
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Edits) != 1 || got.Edits[0].Path != c.path {
				t.Fatalf("edits %+v, want one of %s", got.Edits, c.path)
			}
			apply(t, root, got.Edits)
			for node, want := range map[string]string{"n": c.n, "m": c.m} {
				var found []string
				for _, image := range images(t, root, node) {
					found = append(found, image)
				}
				if !sameSet(strings.Fields(want), found) {
					t.Errorf("node %s runs %v, want %v", node, found, want)
				}
			}
			if shadow := name == "shadowed"; shadow != (len(got.Notes) == 1) {
				t.Errorf("notes %v", got.Notes)
			}
		})
	}
}

func sameSet(a, b []string) bool {
	count := map[string]int{}
	for _, s := range a {
		count[s]++
	}
	for _, s := range b {
		count[s]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestSetTagErrors(t *testing.T) {
	const plain = "{stacks: [{name: s}]}"
	for name, c := range map[string]struct {
		stack, node, compose string
		target               edit.Target
		tag, want            string
	}{
		"shared":          {"{T: one}", plain, "services:\n  a: {image: 'a:${T}'}\n  b: {image: 'b:1', environment: {V: 'v${T}'}}\n", edit.Target{Services: []string{"a"}, Along: true}, "two", "stacks/s/compose.yaml:2:14: the tag of a is ${T}, which b uses as well"},
		"shared by way":   {"{T: one, W: 'w${T}'}", plain, "services:\n  a: {image: 'a:${T}'}\n  b: {image: 'b:1', command: '${W}'}\n", edit.Target{Services: []string{"a"}}, "two", "which b uses as well"},
		"shared network":  {"{T: one}", plain, "services: {a: {image: 'a:${T}'}}\nnetworks: {default: {name: 'n${T}'}}\n", edit.Target{Services: []string{"a"}}, "two", "which networks.default uses as well"},
		"shared anchor":   {"{}", plain, "x-a: &a {image: 'a:1'}\nservices: {a: {<<: *a}, b: {<<: *a}}\n", edit.Target{Services: []string{"a"}}, "two", "stacks/s/compose.yaml:1:17: the image of a is also that of b"},
		"one node":        {"{}", plain, "services: {a: {image: 'a:1'}}", edit.Target{Services: []string{"a"}, Nodes: []string{"n"}}, "two", "stacks/s/compose.yaml:1:23: the tag of a is written here for all nodes: write ${IMAGE_TAG} in its place"},
		"digest":          {"{}", plain, "services: {a: {image: 'a@sha256:0000'}}", edit.Target{Services: []string{"a"}}, "two", "services.a.image: is pinned by a digest"},
		"two ways":        {"{T: one}", plain, "services: {a: {image: 'a:${T}'}, b: {image: 'b:t${T}'}}", edit.Target{Services: []string{"a", "b"}}, "two", "services.b.image: makes its tag of ${T} in another way than a"},
		"two variables":   {"{}", plain, "services: {a: {image: 'a:${X}-${Y}'}}", edit.Target{Services: []string{"a"}}, "two", "several variables (X, Y)"},
		"another form":    {"{}", plain, "services: {a: {image: 'a:v${X}'}}", edit.Target{Services: []string{"a"}}, "two", "makes its tag as v${X}: a tag that looks so is needed, not two"},
		"alternative":     {"{}", plain, "services: {a: {image: 'a:${X:+y}'}}", edit.Target{Services: []string{"a"}}, "two", "whose value is not that of the variable"},
		"nothing sets it": {"{}", plain, "services: {a: {image: '${X}'}}", edit.Target{Services: []string{"a"}}, "two", "is ${X}, which nothing sets"},
		"circle":          {"{X: '${Y}', Y: '${X}'}", plain, "services: {a: {image: '${X}'}}", edit.Target{Services: []string{"a"}}, "two", "refer to each other"},
		"reference":       {"{T: 'op://v/i/f'}", plain, "services: {a: {image: 'a:${T}'}}", edit.Target{}, "two", "is a secret reference"},
		"no service":      {"{}", plain, "services: {a: {image: a}}", edit.Target{Services: []string{"x"}}, "two", "stack s has no service x: it has a"},
		"no variable":     {"{}", plain, "services: {a: {image: a}}", edit.Target{}, "two", "name the services"},
		"many variables":  {"{}", plain, "services: {a: {image: 'a:${A}'}, b: {image: 'b:${B}'}}", edit.Target{}, "two", "name the services out of a (${A}), b (${B})"},
		"not there":       {"{}", "{stacks: [{name: other}]}", "services: {a: {image: 'a:${A}'}}", edit.Target{Nodes: []string{"n"}}, "two", "nodes/n.yaml:4:7: node n does not run stack s: it runs other"},
		"no stack":        {"{}", plain, "services: {}", edit.Target{Stack: "nobody"}, "two", "stacks/nobody/stack.yaml:1:1: there is no stack nobody; there are other, s"},
		"no tag":          {"{}", plain, "services: {}", edit.Target{}, "two words", `"two words" is not a tag`},
		"no image":        {"{}", plain, "services: {a: {build: .}}", edit.Target{Services: []string{"a"}}, "two", "services.a has no image"},
		"endless":         {"{}", plain, "services: {a: {extends: {service: a}}}", edit.Target{Services: []string{"a"}}, "two", "extends itself"},
		"outside":         {"{}", plain, "include: [../../../etc/passwd]", edit.Target{}, "two", "can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			root := fleetOf(t, "{}", c.stack, c.node, c.compose)
			if c.target.Stack == "" {
				c.target.Stack = "s"
			}
			if _, err := edit.SetTag(root, c.target, c.tag); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %q", err, c.want)
			}
		})
	}
}

// TestSetTagChangesWhatWasAsked draws stacks: whatever is edited, exactly the named services'
// containers change, to the tag that was asked for.
func TestSetTagChangesWhatWasAsked(t *testing.T) {
	forms := []string{"x:${FIRST}", "x:${SECOND:-b}", "x:one", "y:${FIRST}", "${IMAGE}", "x", "x:1${SECOND:-z}", "h:5/x:${FIRST}"}
	root := fleetOf(t, "{FIRST: fleet}", "{}", "{stacks: [{name: s}]}", "")
	rapid.Check(t, func(r *rapid.T) {
		var compose strings.Builder
		compose.WriteString("services:\n")
		names := []string{"a", "b", "c"}
		for _, name := range names {
			fmt.Fprintf(&compose, "  %s:\n    image: '%s' # image\n    environment: {V: '%s'}\n", name,
				rapid.SampledFrom(forms).Draw(r, "image"), rapid.SampledFrom([]string{"", "$FIRST", "$$FIRST", "${SECOND-}"}).Draw(r, "env"))
		}
		putFile(r, root, "stacks/s/compose.yaml", compose.String())
		stack := rapid.SampledFrom([]string{"{FIRST: a, SECOND: b, IMAGE: 'i:${FIRST}'}", "{IMAGE: 'i:7'}", "\n    IMAGE: i\n    SECOND: '1' # b"}).Draw(r, "stack")
		putFile(r, root, "stacks/s/stack.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: s}\nspec:\n  variables: "+stack+"\n")
		putFile(r, root, "nodes/n.yaml", nodeHeadOf("n")+"spec:\n  stacks:\n  - name: s\n")
		asked := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID[string]).Draw(r, "asked")
		node := rapid.SampledFrom([]string{"", "n"}).Draw(r, "node")
		before, other := hashes(t, root, "n"), hashes(t, root, "m")
		var nodes []string
		if node != "" {
			nodes = []string{node}
		}
		got, err := edit.SetTag(root, edit.Target{Stack: "s", Services: asked, Nodes: nodes}, "1tag")
		if err != nil {
			return // refused: nothing to compare
		}
		for _, e := range got.Edits {
			putFile(r, root, e.Path, string(e.After))
		}
		after, now := hashes(t, root, "n"), images(t, root, "n")
		for _, name := range names {
			container := "s-" + name + "-1"
			wanted := strings.Contains(" "+strings.Join(asked, " ")+" ", " "+name+" ")
			if (before[container] != after[container]) != wanted || wanted && !strings.HasSuffix(now[container], ":1tag") {
				r.Fatalf("%s: changed %t, asked for %t, image %s", name, before[container] != after[container], wanted, now[container])
			}
		}
		if node != "" && !cmp.Equal(other, hashes(t, root, "m")) {
			r.Fatal("a change of node n changes node m")
		}
	})
}

func nodeHeadOf(name string) string {
	return strings.ReplaceAll(nodeHead, "{name: b}", "{name: "+name+"}")
}

func putFile(r *rapid.T, root, name, text string) {
	if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
}
