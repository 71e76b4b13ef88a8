package edit

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
)

// scope is one `variables:` mapping, found again after each edit of its file.
type scope struct {
	file *file
	// owner finds the mapping that has variables.
	owner func(top *yaml.Node) *yaml.Node
}

func (s scope) values() *yaml.Node { return child(s.owner(s.file.top), "variables") }

func specOf(top *yaml.Node) *yaml.Node { return child(top, "spec") }

// scopes are where variables of a target come from, the strongest last.
// Of node "" there are only those of all nodes.
func (w *workspace) scopes(name, on string) ([]scope, error) {
	fleet, err := w.load("fleet.yaml")
	if err != nil {
		return nil, err
	}
	stack, _, err := w.stack(name)
	if err != nil {
		return nil, err
	}
	all := []scope{{fleet, specOf}, {stack, specOf}}
	if on == "" {
		return all, nil
	}
	node, spec, err := w.node(on)
	if err != nil {
		return nil, err
	}
	i := slices.Index(stacksOf(spec), name)
	if i < 0 {
		return nil, fail(node.at(spec), "node %s does not run stack %s: it runs %s", on, name, strings.Join(stacksOf(spec), ", "))
	}
	placed := func(top *yaml.Node) *yaml.Node { return child(specOf(top), "stacks").Content[i] }
	return append(all, scope{node, specOf}, scope{node, placed}), nil
}

// lookup is the text that defines a variable in the strongest scope.
func (d *deploy) lookup(name string) (string, bool) {
	for _, s := range slices.Backward(d.scopes) {
		if _, value := pair(s.values(), name); value != nil {
			return scalar(value), true
		}
	}
	return "", false
}

// set writes the variable of a site where it counts for the target, and nowhere else.
func (d *deploy) set(s *site, summary string) ([]desired.Problem, error) {
	into := d.scopes[1]
	if d.on != "" {
		alone, err := d.nodeVariable(s.variable)
		if err != nil {
			return nil, err
		}
		into = d.scopes[3]
		if alone {
			into = d.scopes[2]
		}
	}
	if err := into.set(s.variable, s.value, summary); err != nil {
		return nil, err
	}
	if d.on != "" {
		return nil, nil
	}
	return d.overrides(s.variable)
}

// nodeVariable tells whether a variable belongs into the variables of the whole node: it is
// there, the stack on this node has none of its own, and no other stack of the node uses it.
func (d *deploy) nodeVariable(name string) (bool, error) {
	if key, _ := pair(d.scopes[3].values(), name); key != nil {
		return false, nil
	}
	if key, _ := pair(d.scopes[2].values(), name); key == nil {
		return false, nil
	}
	for _, stack := range stacksOf(specOf(d.scopes[2].file.top)) {
		if stack == d.target.Stack {
			continue
		}
		other, err := d.model.w.model(stack)
		if err != nil {
			return false, err
		}
		if other.uses(d.closure(name)) {
			return false, nil
		}
	}
	return true, nil
}

func (m *model) uses(names map[string]bool) bool {
	use := func(t text) bool { return uses(t.value, names) }
	for _, s := range m.services {
		if slices.ContainsFunc(s.texts, use) {
			return true
		}
	}
	for _, texts := range m.others {
		if slices.ContainsFunc(texts, use) {
			return true
		}
	}
	return false
}

func (s scope) set(name, value, summary string) error {
	owner := s.owner(s.file.top)
	key, variables := pair(owner, "variables")
	switch {
	case key == nil:
		return s.file.addPair(owner, []string{"variables", name}, value, summary)
	case isNull(variables):
		return s.file.fill(owner, addition{"variables", []string{name}, value}, summary)
	}
	_, old := pair(variables, name)
	switch {
	case old == nil:
		return s.file.addPair(variables, []string{name}, value, summary)
	case api.HasReference(scalar(old)):
		return fail(s.file.at(old), "variable %s is a secret reference: it can't be a tag", name)
	case scalar(old) == value:
		return nil
	}
	return s.file.setScalar(old, value, fmt.Sprintf("%s (was %s)", summary, scalar(old)))
}

// overrides are the nodes whose own value hides one of the stack.
func (d *deploy) overrides(name string) ([]desired.Problem, error) {
	entries, err := fs.ReadDir(d.root.FS(), "nodes")
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var notes []desired.Problem
	for _, entry := range entries {
		node, ok := strings.CutSuffix(entry.Name(), ".yaml")
		if !ok || !dnsLabel.MatchString(node) {
			continue
		}
		f, spec, err := d.node(node)
		if err != nil {
			return nil, err
		}
		i := slices.Index(stacksOf(spec), d.target.Stack)
		if i < 0 {
			continue
		}
		for _, owner := range []*yaml.Node{child(spec, "stacks").Content[i], spec} {
			if key, _ := pair(child(owner, "variables"), name); key != nil {
				note := f.at(key)
				note.Message = fmt.Sprintf("node %s has %s of its own, which stays in force there: deploy to the node to change it", node, name)
				notes = append(notes, note)
				break
			}
		}
	}
	return notes, nil
}

// find returns the node of a text as its file is now: edits before moved lines.
func (t text) find() (*yaml.Node, error) {
	var search func(node *yaml.Node) *yaml.Node
	search = func(node *yaml.Node) *yaml.Node {
		if node.Kind == yaml.ScalarNode && node.Line == t.at.Line && node.Column == t.at.Column {
			return node
		}
		for _, c := range node.Content {
			if found := search(c); found != nil {
				return found
			}
		}
		return nil
	}
	if found := search(t.file.top); found != nil {
		return found, nil
	}
	return nil, fail(t.at, "can't be found again: edit it by hand")
}
