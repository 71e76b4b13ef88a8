package policy

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"ktrdr.io/fleet/pkg/api"
)

// references looks at every text below a value, whatever field it is in: one that is added
// later is covered before anybody thinks of it.
func (c *check) references(field string, v reflect.Value) {
	texts(field, v, func(field, text string) {
		for _, ref := range api.References(text) {
			c.reference(field, ref)
		}
	})
}

// texts hands out every text below a value with the outermost field that it is in.
func texts(field string, v reflect.Value, each func(field, text string)) {
	switch v.Kind() {
	case reflect.String:
		each(field, v.String())
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			texts(field, v.Elem(), each)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			texts(cmp.Or(field, composeName(v.Type().Field(i))), v.Field(i), each)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			texts(field, v.Index(i), each)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			texts(field, it.Key(), each)
			texts(field, it.Value(), each)
		}
	default: // holds no text
	}
}

// composeName is what the Compose file calls a field of a container's spec.
func composeName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	switch name {
	case "env":
		return "environment"
	case "files":
		return "secrets"
	case "mounts":
		return "volumes"
	}
	return name
}

func (c *check) reference(field, ref string) {
	if c.policy.AllowsReference(ref) {
		return
	}
	fix := "a reference that is well formed"
	if parsed, err := api.ParseReference(ref); err == nil {
		fix = item(ruleReferences, parsed.String())
	}
	c.add(ruleReferences, field, ref, fix)
}

// decided refuses references in fields that rules speak about: what nobody sees before it
// is resolved can't be judged.
func (c *check) decided(spec reflect.Value) {
	for i := range spec.NumField() {
		name, _, _ := strings.Cut(spec.Type().Field(i).Tag.Get("json"), ",")
		if slices.Contains(decidedFields(), name) {
			c.literal(composeName(spec.Type().Field(i)), spec.Field(i))
		}
	}
	if l := spec.FieldByName("Logging"); !l.IsNil() {
		c.literal("logging.driver", l.Elem().FieldByName("Driver"))
	}
}

// decidedFields are the fields of a container's spec that rules speak about.
func decidedFields() []string {
	return []string{
		"image", "networkMode", "ipcMode", "pidMode", "utsMode", "usernsMode", "cgroupnsMode", "mounts", "volumesFrom", "volumeDriver",
		"externalLinks", "capAdd", "securityOpt", "runtime", "annotations", "resources",
	}
}

func (c *check) literal(field string, v reflect.Value) {
	mark, _ := utf8.DecodeRuneInString(api.Placeholder(""))
	texts(field, v, func(field, text string) {
		if strings.ContainsRune(text, mark) {
			c.add(ruleReferences, field, text, "a plain value instead of the reference")
		}
	})
}
