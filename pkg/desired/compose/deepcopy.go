package compose

import "reflect"

// deepCopy returns a copy that shares nothing with v that could be changed. It knows what
// the types of a Project are made of: no interface, and no field that is not exported.
func deepCopy[T any](v T) T {
	unshare(reflect.ValueOf(&v).Elem())
	return v
}

// unshare replaces all that a shallow copy has in common with its original.
func unshare(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() { //nolint:modernize // Value.Fields allocates for each field
			unshare(v.Field(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			own := reflect.New(v.Type().Elem())
			own.Elem().Set(v.Elem())
			unshare(own.Elem())
			v.Set(own)
		}
	case reflect.Slice:
		if !v.IsNil() {
			unshareSlice(v)
		}
	case reflect.Map:
		if !v.IsNil() {
			unshareMap(v)
		}
	default: // copied with what it is part of
	}
}

func unshareSlice(v reflect.Value) {
	own := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
	reflect.Copy(own, v)
	if own.Type().Elem().Kind() != reflect.String {
		for i := range own.Len() {
			unshare(own.Index(i))
		}
	}
	v.Set(own)
}

func unshareMap(v reflect.Value) {
	own := reflect.MakeMapWithSize(v.Type(), v.Len())
	value := reflect.New(v.Type().Elem()).Elem()
	for it := v.MapRange(); it.Next(); {
		value.Set(it.Value())
		unshare(value)
		own.SetMapIndex(it.Key(), value)
	}
	v.Set(own)
}
