package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	interp "github.com/compose-spec/compose-go/v2/interpolation"
	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/tree"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"go.yaml.in/yaml/v4"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// validateSchema reports every violation of the Compose schema in one file. compose-go
// would stop at the first, and which one that is depends on map order.
func (l *loading) validateSchema(content []byte, index *yamlpos.Index, from origin) {
	docs, err := documents(content)
	if err != nil {
		return // reported by rewrite
	}
	for _, doc := range docs {
		value, err := l.document(doc, from)
		if err != nil {
			l.schemaErrors(index, err)
		}
		if value == nil {
			continue
		}
		for _, v := range violations(value) {
			v.Message = api.Display(l.refs.show(v.Message))
			line, column := index.At(v.Path)
			v.File, v.Line, v.Column = index.File(), line, column
			l.found.problems = append(l.found.problems, v)
		}
	}
}

// document is what compose-go would validate: interpolated, with numbers and booleans
// where variables stand for them. With an error it is what could be interpolated.
func (l *loading) document(doc *yaml.Node, from origin) (map[string]any, error) {
	dropResets(resolved(doc), 0)
	var raw any
	if err := doc.Decode(&raw); err != nil {
		return nil, fmt.Errorf("invalid YAML: %w", err)
	}
	if raw == nil {
		return nil, nil
	}
	value, ok := raw.(map[string]any)
	if !ok {
		return nil, errors.New("the top level must be a mapping")
	}
	options := interp.Options{LookupValue: from.variables.get, Substitute: l.substituter(), TypeCastMapping: l.staged.casts()}
	typed, invalid := interp.Interpolate(value, options)
	if invalid != nil {
		options.TypeCastMapping = lenient(options.TypeCastMapping)
		if typed, err := interp.Interpolate(value, options); err == nil {
			return plainJSON(typed, invalid)
		}
	}
	return plainJSON(typed, invalid)
}

// lenient casts leave text that is no number as it is: it was reported, and the rest of
// the section shall be checked as well.
func lenient(casts map[tree.Path]interp.Cast) map[tree.Path]interp.Cast {
	out := map[tree.Path]interp.Cast{}
	for path, cast := range casts {
		out[path] = func(s string) (any, error) {
			if value, err := cast(s); err == nil {
				return value, nil
			}
			return s, nil
		}
	}
	return out
}

// plainJSON makes of a value what a JSON parser would: the schema knows no other types.
func plainJSON(value any, invalid error) (map[string]any, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, errors.Join(invalid, errors.New("keys must be strings and numbers finite"))
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, errors.Join(invalid, err)
	}
	return out, invalid
}

// dropResets takes out what carries !reset: its value may be of any shape.
func dropResets(node *yaml.Node, depth int) {
	if node == nil || depth > yamlpos.MaxDepth {
		return
	}
	if node.Kind == yaml.MappingNode {
		for i := len(node.Content) - 2; i >= 0; i -= 2 {
			if node.Content[i+1].Tag == "!reset" {
				node.Content = slices.Delete(node.Content, i, i+2)
			}
		}
	}
	for _, child := range node.Content {
		if child.Tag == "!override" {
			child.Tag = ""
		}
		dropResets(child, depth+1)
	}
}

var interpolatedPath = regexp.MustCompile(`(?:interpolating|format for) ([^\s:]+?)[.:]?(?:\s|$)`)

// schemaErrors splits what Interpolate joined; each part names its path.
func (l *loading) schemaErrors(index *yamlpos.Index, err error) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, each := range joined.Unwrap() {
			l.schemaErrors(index, each)
		}
		return
	}
	text := api.Display(l.refs.show(strings.Join(strings.Fields(err.Error()), " ")))
	p := Problem{File: index.File(), Message: text}
	if m := interpolatedPath.FindStringSubmatch(text); m != nil {
		p.Path = strings.ReplaceAll(m[1], ".[]", "")
		_, p.Message, _ = strings.Cut(text, m[1]+": ")
		p.Message = strings.TrimPrefix(p.Message, "failed to cast to expected type: ")
	}
	p.Line, p.Column = index.At(p.Path)
	l.found.problems = append(l.found.problems, p)
}

// compiled is the schema that this version of compose-go brings along.
var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) { //nolint:gochecknoglobals // compiled constant
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(schema.Schema))
	if err != nil {
		return nil, fmt.Errorf("read the compose schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("compose-spec.json", document); err != nil {
		return nil, fmt.Errorf("read the compose schema: %w", err)
	}
	return compiler.Compile("compose-spec.json")
})

// Prepare compiles the schemas that Load needs, ours and compose-go's, which are kept.
func Prepare() error {
	_, ours := compiled()
	_, attributes := serviceAttributes()
	return errors.Join(ours, attributes, schema.Validate(map[string]any{}))
}

// violations returns one problem, without file and place, for each violation.
func violations(value map[string]any) []Problem {
	s, err := compiled()
	if err != nil {
		return []Problem{{Message: err.Error()}}
	}
	var invalid *jsonschema.ValidationError
	if err := s.Validate(value); !errors.As(err, &invalid) {
		return nil
	}
	var out []Problem
	for _, leaf := range leaves(invalid) {
		out = append(out, violation(value, leaf)...)
	}
	return out
}

// leaves returns the violations at the ends of the tree. Of alternatives the one counts
// that came furthest; when all fail at one place, they are told together.
func leaves(err *jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(err.Causes) == 0 {
		return []*jsonschema.ValidationError{err}
	}
	switch err.ErrorKind.(type) {
	case *kind.OneOf, *kind.AnyOf:
		return alternative(err)
	}
	var out []*jsonschema.ValidationError
	for _, cause := range err.Causes {
		out = append(out, leaves(cause)...)
	}
	return out
}

func alternative(err *jsonschema.ValidationError) []*jsonschema.ValidationError {
	var best []*jsonschema.ValidationError
	var wanted []string
	deepest := -1
	for _, cause := range err.Causes {
		found := leaves(cause)
		for _, leaf := range found {
			if t, ok := leaf.ErrorKind.(*kind.Type); ok && len(leaf.InstanceLocation) == len(err.InstanceLocation) {
				wanted = append(wanted, t.Want...)
			}
			if depth := depthOf(leaf); depth > deepest {
				best, deepest = found, depth
			}
		}
	}
	t, ok := best[0].ErrorKind.(*kind.Type)
	if len(best) == 1 && ok && len(best[0].InstanceLocation) == len(err.InstanceLocation) {
		slices.Sort(wanted)
		merged := *best[0]
		merged.ErrorKind = &kind.Type{Got: t.Got, Want: slices.Compact(wanted)}
		return []*jsonschema.ValidationError{&merged}
	}
	return best
}

func depthOf(leaf *jsonschema.ValidationError) int {
	if _, ok := leaf.ErrorKind.(*kind.AdditionalProperties); ok {
		return len(leaf.InstanceLocation) + 1
	}
	return len(leaf.InstanceLocation)
}

func violation(value any, leaf *jsonschema.ValidationError) []Problem {
	at := instancePath(value, leaf.InstanceLocation)
	const unknown = "is not an attribute that Compose knows here"
	switch k := leaf.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		var out []Problem
		for _, name := range k.Properties {
			out = append(out, Problem{Path: yamlpos.Child(at, name), Message: unknown})
		}
		return out
	case *kind.FalseSchema:
		// One wrong attribute makes the schema doubt all attributes of the service.
		if key := leaf.InstanceLocation[max(len(leaf.InstanceLocation)-1, 0):]; len(key) == 0 || knownToServices(key[0]) {
			return nil
		}
		return []Problem{{Path: at, Message: unknown}}
	case *kind.Type:
		return []Problem{{Path: at, Message: "must be " + readable(k.Want) + ", not " + readable([]string{k.Got})}}
	}
	return []Problem{{Path: at, Message: leaf.ErrorKind.LocalizedString(message.NewPrinter(language.English))}}
}

// knownToServices tells attributes of services, jobs and pre_start from misspelt ones.
func knownToServices(key string) bool {
	attributes, err := serviceAttributes()
	return err != nil || attributes[key]
}

// serviceAttributes are those that the schema names for anything that runs a container.
var serviceAttributes = sync.OnceValues(func() (map[string]bool, error) { //nolint:gochecknoglobals // compiled constant
	var document struct {
		Defs map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal([]byte(schema.Schema), &document); err != nil {
		return nil, fmt.Errorf("read the compose schema: %w", err)
	}
	out := map[string]bool{}
	for _, name := range []string{"service", "job", "container_spec", "workload_spec", "pre_start_hook"} {
		for key := range document.Defs[name].Properties {
			out[key] = true
		}
	}
	return out, nil
})

func readable(want []string) string {
	names := map[string]string{"object": "a mapping", "array": "a list", "integer": "an integer", "null": "empty"}
	var out []string
	for _, w := range want {
		name, ok := names[w]
		if !ok {
			name = "a " + w
		}
		out = append(out, name)
	}
	return strings.Join(out, " or ")
}

// instancePath writes a location as "services.db.ports[0]".
func instancePath(value any, location []string) string {
	at := ""
	for _, segment := range location {
		switch v := value.(type) {
		case []any:
			i, err := strconv.Atoi(segment)
			if err != nil || i >= len(v) {
				return at
			}
			at, value = yamlpos.Item(at, i), v[i]
		case map[string]any:
			at, value = yamlpos.Child(at, segment), v[segment]
		default:
			return at
		}
	}
	return at
}
