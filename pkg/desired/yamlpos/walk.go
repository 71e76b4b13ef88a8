package yamlpos

import (
	"fmt"

	"go.yaml.in/yaml/v4"

	"ktrdr.io/fleet/pkg/api"
)

type builder struct {
	index    *Index
	nodes    int
	stopped  bool
	problems []Problem
}

func (b *builder) problem(line, column int, path, message string) {
	b.problems = append(b.problems, Problem{
		File: b.index.file, Line: max(line, 1), Column: max(column, 1), Path: path, Message: message,
	})
}

// walk records node and what is below it. The place of path itself was recorded by the
// caller, who knows the key.
func (b *builder) walk(path string, node *yaml.Node, depth int) {
	if !b.spend(path, node, depth) {
		return
	}
	switch node.Kind {
	case yaml.DocumentNode, yaml.StreamNode:
		for _, child := range node.Content {
			b.walk(path, child, depth+1)
		}
	case yaml.AliasNode:
		b.walk(path, node.Alias, depth+1)
	case yaml.MappingNode:
		b.mapping(path, node, depth)
	case yaml.SequenceNode:
		for i, child := range node.Content {
			item := Item(path, i)
			b.record(item, child)
			b.walk(item, child, depth+1)
		}
	case yaml.ScalarNode:
		b.reserved(path, node)
		b.index.scalars = append(b.index.scalars, Scalar{
			Path: path, Value: node.Value, Tag: node.ShortTag(), Line: node.Line, Column: node.Column,
		})
	}
}

// reserved refuses what could pass for a secret's placeholder.
func (b *builder) reserved(path string, node *yaml.Node) {
	if api.Reserved(node.Value) {
		b.problem(node.Line, node.Column, path, api.ErrReserved.Error())
	}
}

// spend bounds the work: aliases are expanded, so a small file can stand for a huge one,
// or for an endless one.
func (b *builder) spend(path string, node *yaml.Node, depth int) bool {
	b.nodes++
	if b.stopped {
		return false
	}
	switch {
	case b.nodes > MaxNodes:
		b.problem(node.Line, node.Column, path, fmt.Sprintf("more than %d values when aliases are expanded", MaxNodes))
	case depth > MaxDepth:
		b.problem(node.Line, node.Column, path, fmt.Sprintf("nested deeper than %d levels", MaxDepth))
	default:
		return true
	}
	b.stopped = true
	return false
}

func (b *builder) mapping(path string, node *yaml.Node, depth int) {
	var merged []*yaml.Node
	own := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.ShortTag() == "!!merge" {
			merged = append(merged, value)
			continue
		}
		child := Child(path, key.Value)
		b.reserved(path, key)
		if own[key.Value] {
			b.problem(key.Line, key.Column, child, fmt.Sprintf("key %q is there twice", key.Value))
			continue
		}
		own[key.Value] = true
		b.record(child, key)
		b.walk(child, value, depth+1)
	}
	for _, source := range merged {
		b.merge(path, source, own, depth)
	}
}

// merge records what "<<" brings in and the mapping does not override; of several
// sources the first wins (YAML merge key type).
func (b *builder) merge(path string, source *yaml.Node, own map[string]bool, depth int) {
	if !b.spend(path, source, depth) {
		return
	}
	switch source.Kind {
	case yaml.AliasNode:
		b.merge(path, source.Alias, own, depth+1)
	case yaml.SequenceNode:
		for _, each := range source.Content {
			b.merge(path, each, own, depth+1)
		}
	case yaml.MappingNode:
		b.mergeMapping(path, source, own, depth)
	case yaml.ScalarNode, yaml.DocumentNode, yaml.StreamNode:
		b.problem(source.Line, source.Column, path, "a merge key needs a mapping")
	}
}

func (b *builder) mergeMapping(path string, source *yaml.Node, own map[string]bool, depth int) {
	for i := 0; i+1 < len(source.Content); i += 2 {
		key, value := source.Content[i], source.Content[i+1]
		if key.ShortTag() == "!!merge" {
			b.merge(path, value, own, depth+1)
			continue
		}
		if own[key.Value] {
			continue
		}
		own[key.Value] = true
		child := Child(path, key.Value)
		b.record(child, key)
		b.walk(child, value, depth+1)
	}
}

func (b *builder) record(path string, node *yaml.Node) {
	b.index.at[path] = position{node.Line, node.Column}
}
