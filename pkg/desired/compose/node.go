package compose

import (
	"iter"

	"go.yaml.in/yaml/v4"
)

// maxAlias bounds chains of aliases and merges; yamlpos refused endless ones before.
const maxAlias = 50

// resolved follows documents and aliases to the node that holds content.
func resolved(node *yaml.Node) *yaml.Node {
	for range maxAlias {
		switch {
		case node == nil:
			return nil
		case node.Kind == yaml.AliasNode:
			node = node.Alias
		case node.Kind == yaml.DocumentNode && len(node.Content) > 0:
			node = node.Content[0]
		default:
			return node
		}
	}
	return nil
}

// child returns the value of a key, also when a merge key brings it in.
func child(node *yaml.Node, key string) *yaml.Node { return childAt(node, key, 0) }

func childAt(node *yaml.Node, key string, depth int) *yaml.Node {
	if node == nil || node.Kind != yaml.MappingNode || depth > maxAlias {
		return nil
	}
	var merged []*yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
		if node.Content[i].ShortTag() == "!!merge" {
			merged = append(merged, sources(node.Content[i+1])...)
		}
	}
	for _, source := range merged {
		if found := childAt(resolved(source), key, depth+1); found != nil {
			return found
		}
	}
	return nil
}

// sources lists what a merge key names.
func sources(node *yaml.Node) []*yaml.Node {
	node = resolved(node)
	if node != nil && node.Kind == yaml.SequenceNode {
		return node.Content
	}
	return []*yaml.Node{node}
}

// pairs yields the entries of a mapping, those of merge keys included.
func pairs(node *yaml.Node) iter.Seq2[string, *yaml.Node] {
	return func(yield func(string, *yaml.Node) bool) { yieldPairs(node, yield, 0) }
}

func yieldPairs(node *yaml.Node, yield func(string, *yaml.Node) bool, depth int) bool {
	if node == nil || node.Kind != yaml.MappingNode || depth > maxAlias {
		return true
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.ShortTag() != "!!merge" {
			if !yield(key.Value, value) {
				return false
			}
			continue
		}
		for _, source := range sources(value) {
			if !yieldPairs(resolved(source), yield, depth+1) {
				return false
			}
		}
	}
	return true
}
