package desired

import (
	"context"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/compose"
)

// ValidatePlain is Validate without memory.
func ValidatePlain(ctx context.Context, root string) ([]Problem, error) {
	t, err := openRepository(root)
	if err != nil {
		return nil, err
	}
	defer t.close() //nolint:errcheck // a folder that was only read
	return t.validate(ctx)
}

// NewPlainSlicer is NewSlicer without memory.
func NewPlainSlicer(root string) (*Slicer, error) {
	s, err := NewSlicer(root)
	if err == nil {
		s.tree.load = compose.Load
	}
	return s, err
}

// Built is all that came of building a node, in the order in which it was found.
type Built struct {
	Desired            *api.Desired
	Problems, Warnings []Problem
}

// BuildAll builds each node twice, one after the other: with a Loader for all, or without.
func BuildAll(ctx context.Context, root string, remembers bool) ([]Built, error) { //nolint:revive // a test's choice
	t, err := openRepository(root)
	if err != nil {
		return nil, err
	}
	defer t.close() //nolint:errcheck // a folder that was only read
	if remembers {
		t.load = new(compose.Loader).Load
	}
	v := &validation{tree: t, report: &report{}, nodes: map[string]*node{}, stacks: map[string]*stack{}}
	f, ok := t.readFleet(v.report)
	v.readNodes()
	v.readStacks()
	var out []Built
	for _, name := range append(keysOf(v.nodes), keysOf(v.nodes)...) {
		if ok {
			r := &report{}
			b := &nodeBuild{tree: t, fleet: f, node: v.nodes[name], stacks: v.stacks, report: r}
			built := b.build(ctx)
			out = append(out, Built{built, r.problems, r.warnings})
		}
	}
	return out, ctx.Err()
}
