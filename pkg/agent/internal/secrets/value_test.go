package secrets_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/agent/internal/secrets/secretstest"
)

// holder has a value where formatters reach it with methods, and where they don't.
type holder struct {
	Exported secrets.Value            `json:"exported"`
	Pointer  *secrets.Value           `json:"pointer"`
	List     []secrets.Value          `json:"list"`
	Map      map[string]secrets.Value `json:"map"`
	Any      any                      `json:"any"`
	inside   secrets.Value
	deep     struct{ list []*secrets.Value }
}

func places(v secrets.Value) []any {
	h := holder{Exported: v, Pointer: &v, List: []secrets.Value{v}, Map: map[string]secrets.Value{"k": v}, Any: v, inside: v}
	h.deep.list = []*secrets.Value{&v}
	_ = h.inside
	return []any{v, &v, []secrets.Value{v}, map[string]secrets.Value{"k": v}, h, &h, secrets.Result{Value: v}, errors.Join(fmt.Errorf("%v", v))}
}

// control holds the same text without protection.
type control struct {
	Text   string
	inside string
}

func found(canary string, shown []string) bool {
	for _, text := range shown {
		for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary)} {
			if strings.Contains(text, form) {
				return true
			}
		}
	}
	return false
}

func TestNoFormatterShowsAValue(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		canary := "canary-" + rapid.StringMatching(`[A-Za-z0-9]{8,40}`).Draw(r, "canary")
		if !found(canary, secretstest.Shown(control{Text: canary, inside: canary})) {
			r.Fatal("the search does not find what is shown")
		}
		for _, place := range places(secrets.NewValue(canary)) {
			shown := secretstest.Shown(place)
			if found(canary, shown) {
				r.Fatalf("%T shows the value", place)
			}
			// Reflection finds no text either.
			if strings.Contains(fmt.Sprint(walk(reflect.ValueOf(place), 0)), canary) {
				r.Fatalf("%T gives the value to reflection", place)
			}
		}
	})
}

// walk collects every string that reflection reaches, unexported fields and pointers included.
func walk(v reflect.Value, depth int) []string {
	if !v.IsValid() || depth > 8 {
		return nil
	}
	var all []string
	switch v.Kind() {
	case reflect.String:
		return []string{v.String()}
	case reflect.Pointer, reflect.Interface:
		return walk(v.Elem(), depth+1)
	case reflect.Struct:
		for _, field := range v.Fields() {
			all = append(all, walk(field, depth+1)...)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			all = append(all, walk(v.Index(i), depth+1)...)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			all = append(all, walk(v.MapIndex(key), depth+1)...)
		}
	}
	return all
}

func TestRedactedIsReadable(t *testing.T) {
	v := secrets.NewValue("x")
	for _, verb := range []string{"%v", "%s", "%+v", "%#v", "%q", "%d", "%x"} {
		if got := fmt.Sprintf(verb, v); got != secrets.Redacted {
			t.Errorf("%s gives %q", verb, got)
		}
	}
	data, err := json.Marshal(map[string]any{"v": v, "p": &v})
	if err != nil || string(data) != `{"p":"[redacted]","v":"[redacted]"}` {
		t.Errorf("JSON is %s, %v", data, err)
	}
}

func TestOpenIsCounted(t *testing.T) {
	v := secrets.NewValue("text")
	other := v
	_, _ = fmt.Sprint(v), v.Equal(secrets.NewValue("text"))
	if v.Opened() != 0 || v.IsEmpty() {
		t.Errorf("opened %d times before anybody did", v.Opened())
	}
	if v.Open() != "text" || other.Open() != "text" || v.Opened() != 2 || other.Opened() != 2 {
		t.Errorf("opened %d and %d times, want 2", v.Opened(), other.Opened())
	}
	var zero secrets.Value
	if zero.Open() != "" || zero.Opened() != 0 || !zero.IsEmpty() || !zero.Equal(secrets.NewValue("")) || zero.Equal(v) {
		t.Error("the zero value is not empty")
	}
}

func TestNothingDecodesIntoAValue(t *testing.T) {
	var v secrets.Value
	if err := json.Unmarshal([]byte(`"[redacted]"`), &v); !errors.Is(err, secrets.ErrRedacted) {
		t.Errorf("JSON: %v", err)
	}
	if err := yaml.Unmarshal([]byte(`"[redacted]"`), &v); err == nil {
		t.Error("YAML was decoded")
	}
	var data bytes.Buffer
	if err := gob.NewEncoder(&data).Encode(secrets.NewValue("x")); err != nil {
		t.Fatal(err)
	}
	if err := gob.NewDecoder(&data).Decode(&v); !errors.Is(err, secrets.ErrRedacted) {
		t.Errorf("gob: %v", err)
	}
}
