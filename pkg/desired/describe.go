package desired

import (
	"maps"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v4"
)

func (d *document) wrongType(path string, node *yaml.Node, want string) {
	if isNull(node) {
		d.problem(path, "has no value: it must be %s", want)
		return
	}
	d.problem(path, "must be %s, not %s", want, describe(node))
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// describe names a node's type; never its value, which may be a secret.
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch node.ShortTag() {
		case "!!str":
			return "text"
		case "!!int", "!!float":
			return "a number (quote it to make it text)"
		case "!!bool":
			return "true or false (quote it to make it text)"
		}
	case yaml.DocumentNode, yaml.StreamNode, yaml.AliasNode:
	}
	return "a value of another type"
}

func kindName(kind reflect.Kind) string {
	switch kind { //nolint:exhaustive // the kinds that pkg/api uses
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	default:
		return "text"
	}
}

func keysOf[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
