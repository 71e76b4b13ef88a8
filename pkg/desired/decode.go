package desired

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// Limits of one file of a kind; aliases count each time they are used.
const (
	maxValues = 50_000
	maxDepth  = 50
)

type place struct{ line, column int }

// document is a decoded file that knows where its fields stand.
type document struct {
	file   string
	places map[string]place
	report *report
	values int
	// stopped ends the walk once a limit was hit: one problem says so.
	stopped bool
}

// decode reads one YAML document strictly into a kind of pkg/api: unknown and repeated
// fields, wrong types, empty scalars, merge keys and further documents are problems. What
// is right is decoded all the same, so that later checks find more.
func decode(file string, data []byte, into any, r *report) *document {
	d := &document{file: file, places: map[string]place{"": {1, 1}}, report: r}
	root, ok := d.parse(data)
	if !ok {
		return d
	}
	if root == nil {
		d.problem("", "is empty")
		return d
	}
	d.reserved(root)
	d.value("", root, reflect.ValueOf(into).Elem(), 0)
	return d
}

// reserved refuses what could pass for a secret's placeholder, wherever it stands.
func (d *document) reserved(node *yaml.Node) {
	if api.Reserved(node.Value) {
		d.problemAt(node, "", api.ErrReserved.Error())
	}
	for _, child := range node.Content {
		d.reserved(child)
	}
}

// resolvedHere are the fields of kinds whose secret references are resolved.
var resolvedHere = regexp.MustCompile(`^spec\.(stacks\[\d+\]\.)?variables\.|^spec\.registries\[\d+\]\.(username|password)$` +
	`|^spec\.services\.[^.]+\.rotation\[\d+\]\.secret$`)

// misplaced refuses a secret reference in a field where nobody resolves it.
func (d *document) misplaced(path string, node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && api.HasReference(node.Value) && !resolvedHere.MatchString(path) && path != "metadata.description" {
		d.problemAt(node, path, "secret references are resolved in variables, registries and Compose files, not here")
	}
}

// parse returns the only document's root, nil for an empty file.
func (d *document) parse(data []byte) (*yaml.Node, bool) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	switch err := decoder.Decode(&first); {
	case errors.Is(err, io.EOF):
		return nil, true
	case err != nil:
		d.syntax(data, err)
		return nil, false
	}
	switch err := decoder.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.syntax(data, err)
		return nil, false
	default:
		d.problemAt(&second, "", "a second YAML document: one file holds one object")
	}
	if len(first.Content) == 0 {
		return nil, true
	}
	return first.Content[0], true
}

// syntax reports what the parser could not read, with the place that yamlpos finds.
func (d *document) syntax(data []byte, err error) {
	if _, placed := yamlpos.Parse(d.file, data); placed != nil {
		err = placed
	}
	d.report.addError(asError(err), d.at(""))
}

func (d *document) at(path string) Problem {
	for at := path; ; at = at[:max(strings.LastIndexAny(at, ".["), 0)] {
		if p, ok := d.places[at]; ok {
			return Problem{File: d.file, Line: p.line, Column: p.column, Path: path}
		}
	}
}

func (d *document) problem(path, format string, args ...any) {
	p := d.at(path)
	p.Message = fmt.Sprintf(format, args...)
	d.report.add(p)
}

func (d *document) warning(path, format string, args ...any) {
	p := d.at(path)
	p.Message = fmt.Sprintf(format, args...)
	d.report.warn(p)
}

func (d *document) problemAt(node *yaml.Node, path, message string) {
	d.report.add(Problem{File: d.file, Line: max(node.Line, 1), Column: max(node.Column, 1), Path: path, Message: message})
}

// spend bounds the walk: an alias may stand for a huge value, or contain itself.
func (d *document) spend(path string, node *yaml.Node, depth int) bool {
	d.values++
	if d.stopped {
		return false
	}
	switch {
	case d.values > maxValues:
		d.problemAt(node, path, fmt.Sprintf("more than %d values when aliases are expanded", maxValues))
	case depth > maxDepth:
		d.problemAt(node, path, fmt.Sprintf("nested deeper than %d levels", maxDepth))
	default:
		d.misplaced(path, node)
		return true
	}
	d.stopped = true
	return false
}

// value decodes node into target. Recursion is bounded by spend.
func (d *document) value(path string, node *yaml.Node, target reflect.Value, depth int) {
	if !d.spend(path, node, depth) {
		return
	}
	if node.Kind == yaml.AliasNode {
		d.value(path, node.Alias, target, depth+1)
		return
	}
	if unmarshaler, ok := reflect.TypeAssert[encoding.TextUnmarshaler](target.Addr()); ok {
		d.text(path, node, unmarshaler)
		return
	}
	switch target.Kind() {
	case reflect.Pointer:
		if isNull(node) {
			return
		}
		target.Set(reflect.New(target.Type().Elem()))
		d.value(path, node, target.Elem(), depth+1)
	case reflect.Struct:
		d.structure(path, node, target, depth)
	case reflect.Map:
		d.stringMap(path, node, target, depth)
	case reflect.Slice:
		d.sequence(path, node, target, depth)
	default:
		d.scalar(path, node, target)
	}
}

// mapping calls each for the pairs of a mapping; null stands for an empty one.
func (d *document) mapping(path string, node *yaml.Node, each func(key, value *yaml.Node, path string)) {
	if isNull(node) {
		return
	}
	if node.Kind != yaml.MappingNode {
		d.wrongType(path, node, "a mapping")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content) && !d.stopped; i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		child := yamlpos.Child(path, key.Value)
		switch {
		case key.Kind != yaml.ScalarNode:
			d.problemAt(key, path, "a key must be plain text")
		case key.ShortTag() == "!!merge":
			d.problemAt(key, child, "merge keys are not supported here: repeat the fields")
		case seen[key.Value]:
			d.problemAt(key, child, "is there twice")
		default:
			seen[key.Value] = true
			d.places[child] = place{key.Line, key.Column}
			each(key, value, child)
		}
	}
}

// structure decodes a mapping whose keys are the fields of a struct. Fields without
// omitzero are required.
func (d *document) structure(path string, node *yaml.Node, target reflect.Value, depth int) {
	fields := fieldsOf(target.Type())
	d.mapping(path, node, func(key, child *yaml.Node, childPath string) {
		field, known := fields[key.Value]
		if !known {
			d.problemAt(key, childPath, "unknown field"+didYouMean(key.Value, keysOf(fields)))
			return
		}
		d.value(childPath, child, target.FieldByIndex(field.Index), depth+1)
	})
	if node.Kind != yaml.MappingNode && !isNull(node) {
		return
	}
	for _, name := range keysOf(fields) {
		if required := !strings.Contains(fields[name].Tag.Get("json"), "omitzero"); required && !d.has(yamlpos.Child(path, name)) {
			d.problem(path, "%s is missing", name)
		}
	}
}

// fieldsOf returns the fields of a struct, embedded ones included, by their JSON names.
func fieldsOf(t reflect.Type) map[string]reflect.StructField {
	fields := map[string]reflect.StructField{}
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.IsExported() && !field.Anonymous && name != "-" {
			fields[name] = field
		}
	}
	return fields
}

func (d *document) stringMap(path string, node *yaml.Node, target reflect.Value, depth int) {
	entries := reflect.MakeMap(target.Type())
	d.mapping(path, node, func(key, child *yaml.Node, childPath string) {
		entry := reflect.New(target.Type().Elem()).Elem()
		d.element(childPath, child, entry, depth)
		entries.SetMapIndex(reflect.ValueOf(key.Value), entry)
	})
	if entries.Len() > 0 {
		target.Set(entries)
	}
}

func (d *document) sequence(path string, node *yaml.Node, target reflect.Value, depth int) {
	if isNull(node) {
		return
	}
	if node.Kind != yaml.SequenceNode {
		d.wrongType(path, node, "a list")
		return
	}
	items := reflect.MakeSlice(target.Type(), len(node.Content), len(node.Content))
	for i, child := range node.Content {
		item := yamlpos.Item(path, i)
		d.places[item] = place{child.Line, child.Column}
		d.element(item, child, items.Index(i), depth)
	}
	target.Set(items)
}
