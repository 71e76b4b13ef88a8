package wiretest

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Fill gives every field that v points to a value of its own that is not zero: numbers
// count, strings say where they are, lists have two elements. Fields that JSON leaves out
// (json:"-") stay zero: they are nobody else's. It fails on kinds that it does not know.
func Fill(t testing.TB, v any) {
	t.Helper()
	f := &filler{t: t}
	f.value(reflect.ValueOf(v).Elem(), "")
}

type filler struct {
	t testing.TB
	n int
}

func (f *filler) value(v reflect.Value, at string) {
	f.t.Helper()
	f.n++
	switch target := v.Addr().Interface().(type) {
	case *time.Time:
		*target = time.Date(2026, 1, 2, 3, 4, 5, f.n, time.UTC)
		return
	case *time.Duration:
		*target = time.Duration(f.n) * time.Millisecond
		return
	}
	switch kind := v.Kind(); kind { //nolint:exhaustive // the default fails
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(fmt.Sprintf("%s %d", at, f.n))
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.n))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(f.n)) //nolint:gosec // counts fields
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.value(v.Elem(), at)
	case reflect.Struct:
		f.structure(v, at)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			f.value(v.Index(i), fmt.Sprintf("%s[%d]", at, i))
		}
	case reflect.Map:
		f.dictionary(v, at)
	default:
		f.t.Fatalf("%s: a field of kind %s: teach wiretest.Fill to fill it", at, kind)
	}
}

func (f *filler) structure(v reflect.Value, at string) {
	f.t.Helper()
	for field, value := range v.Fields() {
		if !field.IsExported() {
			f.t.Fatalf("%s.%s: can't fill what is not exported", at, field.Name)
		}
		if field.Tag.Get("json") != "-" {
			f.value(value, at+"."+field.Name)
		}
	}
}

func (f *filler) dictionary(v reflect.Value, at string) {
	f.t.Helper()
	v.Set(reflect.MakeMap(v.Type()))
	for range 2 {
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.value(key, at+" key")
		f.value(value, at+" value")
		v.SetMapIndex(key, value)
	}
}

// Unset lists the fields of a message, and of all messages in it, that are not set, sorted:
// what a conversion leaves out.
func Unset(m protoreflect.Message) []string {
	missing := map[string]bool{}
	collect(m, missing)
	var names []string
	for name := range missing {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func collect(m protoreflect.Message, missing map[string]bool) {
	if m.Descriptor().ParentFile().Package() == "google.protobuf" {
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if !m.Has(field) {
			missing[string(field.FullName())] = true
			continue
		}
		if field.Kind() != protoreflect.MessageKind || field.IsMap() {
			continue
		}
		if !field.IsList() {
			collect(m.Get(field).Message(), missing)
			continue
		}
		items := m.Get(field).List()
		for j := range items.Len() {
			collect(items.Get(j).Message(), missing)
		}
	}
}

// Garble puts bytes that are no UTF-8 into every string that v points to.
func Garble(v any) { garble(reflect.ValueOf(v).Elem()) }

func garble(v reflect.Value) {
	switch v.Kind() { //nolint:exhaustive // the others hold no strings
	case reflect.String:
		v.SetString(v.String() + "\xff\xfe")
	case reflect.Pointer:
		if !v.IsNil() {
			garble(v.Elem())
		}
	case reflect.Struct:
		for field, value := range v.Fields() {
			if field.IsExported() {
				garble(value)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			garble(v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			old := v.MapIndex(key)
			v.SetMapIndex(key, reflect.Value{})
			v.SetMapIndex(reflect.ValueOf(key.String()+"\xff").Convert(key.Type()), reflect.ValueOf(old.String()+"\xff").Convert(old.Type()))
		}
	}
}
