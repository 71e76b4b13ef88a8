package desired

import (
	"encoding"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// element decodes what a map or a list holds. Text is taken as it is written there, so
// that `PORT: 5432` and `FLAG: true` need no quotes, as in Compose.
func (d *document) element(path string, node *yaml.Node, target reflect.Value, depth int) {
	plain := node
	if node.Kind == yaml.AliasNode {
		plain = node.Alias
	}
	if target.Kind() != reflect.String || plain.Kind != yaml.ScalarNode {
		d.value(path, node, target, depth+1)
		return
	}
	if !d.spend(path, node, depth) {
		return
	}
	switch {
	case isNull(plain):
		d.problem(path, `has no value: write "" for an empty one`)
	case !strings.HasPrefix(plain.ShortTag(), "!!") || plain.ShortTag() == "!!binary":
		d.problem(path, "tags are not supported")
	default:
		target.SetString(plain.Value)
	}
}

func (d *document) text(path string, node *yaml.Node, target encoding.TextUnmarshaler) {
	if node.Kind != yaml.ScalarNode || isNull(node) {
		d.wrongType(path, node, "text")
		return
	}
	if err := target.UnmarshalText([]byte(node.Value)); err != nil {
		d.problem(path, "%s", err)
	}
}

func (d *document) scalar(path string, node *yaml.Node, target reflect.Value) {
	tag, ok := node.ShortTag(), node.Kind == yaml.ScalarNode
	switch target.Kind() { //nolint:exhaustive // the kinds that pkg/api uses
	case reflect.String:
		if ok = ok && tag == "!!str"; ok {
			target.SetString(node.Value)
		}
	case reflect.Bool:
		if ok = ok && tag == "!!bool"; ok {
			target.SetBool(strings.EqualFold(node.Value, "true"))
		}
	case reflect.Float64:
		number, err := strconv.ParseFloat(node.Value, 64)
		if ok = ok && (tag == "!!int" || tag == "!!float") && err == nil && !math.IsInf(number, 0) && !math.IsNaN(number); ok {
			target.SetFloat(number)
		}
	default:
		d.integer(path, node, target)
		return
	}
	if !ok {
		d.wrongType(path, node, kindName(target.Kind()))
	}
}

func (d *document) integer(path string, node *yaml.Node, target reflect.Value) {
	number, err := strconv.ParseInt(node.Value, 10, 64)
	switch {
	case node.Kind != yaml.ScalarNode || node.ShortTag() != "!!int" || err != nil:
		d.wrongType(path, node, "a whole number")
	case target.CanUint() && (number < 1 || target.OverflowUint(uint64(number))):
		// The only unsigned fields are ports.
		d.problem(path, "must be from 1 to %d", uint64(math.MaxUint64)>>(64-target.Type().Bits()))
	case target.CanUint():
		target.SetUint(uint64(number)) //nolint:gosec // positive, checked above
	default:
		target.SetInt(number)
	}
}
