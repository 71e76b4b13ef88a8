package compose

import "reflect"

// eachString calls visit for every string below v: fields, items, map keys and values.
func eachString(v any, visit func(string)) { visitStrings(reflect.ValueOf(v), visit) }

func visitStrings(v reflect.Value, visit func(string)) {
	switch v.Kind() {
	case reflect.String:
		visit(v.String())
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			visitStrings(v.Elem(), visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				visitStrings(v.Field(i), visit)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			visitStrings(v.Index(i), visit)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			visitStrings(it.Key(), visit)
			visitStrings(it.Value(), visit)
		}
	default: // numbers and booleans hold no text
	}
}
