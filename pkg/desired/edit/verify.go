package edit

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// anyScalar is the tag of a value that was written here: text or a number.
const anyScalar = "any"

// accept takes data over as the file's content if it parses to what is wanted and nothing
// else, and if all lines that are in both are the same bytes.
func (f *file) accept(summary string, want *yaml.Node, data []byte) error {
	changed := *f
	if err := changed.parse(data); err != nil {
		return err
	}
	if !same(want, changed.top) {
		return fail(f.at(nil), "can't be edited in place without touching more than %s: edit it by hand", summary)
	}
	f.data, f.top = data, changed.top
	f.summary = append(f.summary, summary)
	return nil
}

// same compares kinds, values, types, anchors and what aliases name.
func same(want, got *yaml.Node) bool {
	if want == nil || got == nil {
		return want == got
	}
	if want.Kind != got.Kind || want.Kind == yaml.ScalarNode && !sameType(want, got) || want.Value != got.Value || want.Anchor != got.Anchor {
		return false
	}
	return slices.EqualFunc(want.Content, got.Content, same)
}

func sameType(want, got *yaml.Node) bool {
	if want.Tag == anyScalar {
		return slices.Contains([]string{"!!str", "!!int", "!!float"}, got.ShortTag())
	}
	return want.ShortTag() == got.ShortTag()
}

// clone copies a tree; aliases keep their names only.
func clone(node *yaml.Node) *yaml.Node {
	if node == nil {
		return nil
	}
	out := *node
	out.Alias = nil
	out.Content = make([]*yaml.Node, len(node.Content))
	for i, c := range node.Content {
		out.Content[i] = clone(c)
	}
	return &out
}

type placed struct{ node *yaml.Node }

// place finds in a clone what node is in the original.
func place(copied, original, node *yaml.Node) *placed {
	if original == node {
		return &placed{copied}
	}
	for i, c := range original.Content {
		if found := place(copied.Content[i], c, node); found != nil {
			return found
		}
	}
	return nil
}

// aliased tells whether an alias below top leads to node.
func aliased(top, node *yaml.Node) bool {
	if top.Kind == yaml.AliasNode {
		return top.Alias == node
	}
	return slices.ContainsFunc(top.Content, func(c *yaml.Node) bool { return aliased(c, node) })
}

// oneLine makes a summary of parts.
func oneLine(parts ...string) string {
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}
