package compose

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

var (
	// wholeReference is a value, or the value of a KEY=value item, that is a reference.
	wholeReference = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.-]*=)?((?i:op|akv)://[^\s/{}][^{}\n]*)$`)
	// bracedReference stands inside a longer string, as `op inject` has it.
	bracedReference = regexp.MustCompile(`\{\{\s*((?i:op|akv)://[^{}\n]*?)\s*\}\}`)
	// token is what stands for a placeholder while compose-go works on the text.
	// Quoted in an error it is escaped.
	token = regexp.MustCompile("(?:\uE002|\\\\ue002)([0-9]+)(?:\uE003|\\\\ue003)")
)

// references replaces secret placeholders by tokens while compose-go splits, quotes and
// parses values: a reference may hold spaces and colons, a token holds neither.
type references struct {
	list  []string
	known map[string]int
}

func newReferences() *references { return &references{known: map[string]int{}} }

// hide turns placeholders and literal references in a substituted value into tokens.
func (r *references) hide(s string) string {
	s = literal(s)
	if !strings.ContainsRune(s, '\uE000') {
		return s
	}
	out, _ := api.Expand(s, func(ref string) (string, error) { return r.token(ref), nil })
	return out
}

// literal turns references that are written in the file into placeholders.
func literal(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	if m := wholeReference.FindStringSubmatch(s); m != nil {
		return m[1] + placeholder(strings.TrimSpace(m[2]))
	}
	return bracedReference.ReplaceAllStringFunc(s, func(braced string) string {
		return placeholder(bracedReference.FindStringSubmatch(braced)[1])
	})
}

// placeholder wraps the canonical form of a reference; one that is malformed was reported
// where it stands.
func placeholder(ref string) string {
	if parsed, err := api.ParseReference(ref); err == nil {
		ref = parsed.String()
	}
	return api.Placeholder(ref)
}

func (r *references) token(ref string) string {
	i, ok := r.known[ref]
	if !ok {
		i = len(r.list)
		r.known[ref] = i
		r.list = append(r.list, ref)
	}
	return fmt.Sprintf("\uE002%d\uE003", i)
}

// show turns tokens back into placeholders.
func (r *references) show(s string) string {
	s = fromVirtual(s)
	if !strings.ContainsRune(s, '\uE002') && !strings.Contains(s, `\ue002`) {
		return s
	}
	return token.ReplaceAllStringFunc(s, func(found string) string {
		i, err := strconv.Atoi(token.FindStringSubmatch(found)[1])
		if err != nil || i >= len(r.list) {
			return found
		}
		return api.Placeholder(r.list[i])
	})
}

// showAll returns a deep copy of v with tokens turned back, in map keys as well.
func (r *references) showAll(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.String:
		out := reflect.New(v.Type()).Elem()
		out.SetString(r.show(v.String()))
		return out
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type().Elem())
		out.Elem().Set(r.showAll(v.Elem()))
		return out
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		return r.showAll(v.Elem()).Convert(v.Type())
	case reflect.Struct:
		return r.showStruct(v)
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(r.showAll(v.Index(i)))
		}
		return out
	case reflect.Map:
		return r.showMap(v)
	default:
		return v
	}
}

func (r *references) showStruct(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() {
			out.Field(i).Set(r.showAll(v.Field(i)))
		}
	}
	return out
}

func (r *references) showMap(v reflect.Value) reflect.Value {
	if v.IsNil() {
		return v
	}
	out := reflect.MakeMapWithSize(v.Type(), v.Len())
	for it := v.MapRange(); it.Next(); {
		out.SetMapIndex(r.showAll(it.Key()), r.showAll(it.Value()))
	}
	return out
}
