package schema

import (
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"ktrdr.io/fleet/pkg/api"
)

const (
	apiPackage = "ktrdr.io/fleet/pkg/api"
	baseID     = "https://ktrdr.io/schemas/v1alpha1/"
)

// Generate returns the content of the schema files by name. apiDir is the folder of
// package api, relative to the working directory, for its comments.
func Generate(apiDir string) (map[string][]byte, error) {
	comments, err := commentsOf(apiDir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for kind, value := range map[string]any{api.KindFleet: api.FleetFile{}, api.KindNode: api.NodeFile{}, api.KindStack: api.StackFile{}} {
		reflector := jsonschema.Reflector{ExpandedStruct: true, CommentMap: comments, Mapper: mapped}
		s := reflector.Reflect(value)
		name := strings.ToLower(kind) + ".schema.json"
		s.ID = jsonschema.ID(baseID + name)
		s.Title = kind
		refine(s, kind)
		data, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("encode the schema of %s: %w", kind, err)
		}
		files[name] = append(data, '\n')
	}
	return files, nil
}

// commentsOf reads the comments of types and fields, keyed as the reflector looks them up.
func commentsOf(apiDir string) (map[string]string, error) {
	var reader jsonschema.Reflector
	if err := reader.AddGoComments("", apiDir, jsonschema.WithFullComment()); err != nil {
		return nil, fmt.Errorf("read the comments of package api: %w", err)
	}
	prefix := path.Join("", filepath.ToSlash(filepath.Clean(apiDir)))
	comments := map[string]string{}
	for key, text := range reader.CommentMap {
		comments[apiPackage+strings.TrimPrefix(key, prefix)] = strings.Join(strings.Fields(text), " ")
	}
	return comments, nil
}

// mapped says how types look in YAML where that differs from their Go type: plain values of
// any type are text in maps and lists, as in Compose.
func mapped(t reflect.Type) *jsonschema.Schema {
	plain := func() *jsonschema.Schema {
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}}
	}
	switch t {
	case reflect.TypeFor[map[string]string]():
		return &jsonschema.Schema{Type: "object", AdditionalProperties: plain()}
	case reflect.TypeFor[[]string]():
		return &jsonschema.Schema{Type: "array", Items: plain()}
	case reflect.TypeFor[uint16]():
		return &jsonschema.Schema{Type: "integer", Minimum: "1", Maximum: "65535"}
	case reflect.TypeFor[api.ByteSize]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)? *([kKmMgGtT]i?)?[bB]?$`}, {Type: "integer", Minimum: "0"},
		}}
	case reflect.TypeFor[api.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: `^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$`}
	}
	return nil
}

// refine adds what types can't say.
func refine(s *jsonschema.Schema, kind string) {
	set := func(of *jsonschema.Schema, name string, change func(*jsonschema.Schema)) {
		if of == nil || of.Properties == nil {
			return
		}
		if property, ok := of.Properties.Get(name); ok {
			change(property)
		}
	}
	set(s, "apiVersion", func(p *jsonschema.Schema) { p.Const = api.APIVersion })
	set(s, "kind", func(p *jsonschema.Schema) { p.Const = kind })
	set(s.Definitions["Metadata"], "name", func(p *jsonschema.Schema) { p.Pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" })
	set(s.Definitions["StackSpec"], "delivery", func(p *jsonschema.Schema) { p.Enum = []any{api.DeliveryFiles, api.DeliveryEnv} })
	set(s.Definitions["HTTPProbe"], "scheme", func(p *jsonschema.Schema) { p.Enum = []any{"http", "https"} })
	oneOf(s.Definitions["ProbeSpec"], "http", "tcp", "exec")
	oneOf(s.Definitions["Pool"], "services", "template")
}

func oneOf(s *jsonschema.Schema, fields ...string) {
	if s == nil {
		return
	}
	for _, field := range fields {
		s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{field}})
	}
}
