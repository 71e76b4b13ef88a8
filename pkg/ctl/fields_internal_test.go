package ctl

import (
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFieldsOfDocuments keeps what programs rely on: a field may come, none may go or get
// another type. After a look at docs/spec/status.md: go test -run TestFieldsOfDocuments -update.
func TestFieldsOfDocuments(t *testing.T) {
	const file = "testdata/fields.txt"
	var got []string
	for name, document := range map[string]any{
		"status": document{}, "plan": nodePlan{}, "history": commitDoc{}, "audit": auditDoc{}, "secrets": secretsDoc{}, "events": eventDoc{}, "logs": logDoc{},
		"doctor": checkDoc{}, "node list": nodeLine{}, "operator list": operatorDoc{}, "whoami": identityDoc{}, "version": build{},
	} {
		got = append(got, fieldsOf(name, reflect.TypeOf(document), 0)...)
	}
	slices.Sort(got)
	if flag.Lookup("update").Value.String() == "true" { // of the package's other tests
		if err := os.WriteFile(file, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Fields(strings.ReplaceAll(string(text), " ", "_")), strings.Fields(strings.ReplaceAll(strings.Join(got, "\n"), " ", "_"))); diff != "" {
		t.Errorf("fields of -o json (-kept +got):\n%s", diff)
	}
}

func fieldsOf(path string, kind reflect.Type, depth int) []string {
	for kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	switch {
	case depth > 12:
		return []string{path + " …"}
	case kind == reflect.TypeFor[time.Time]():
		return []string{path + " time"}
	case kind.Kind() == reflect.Slice:
		return fieldsOf(path+"[]", kind.Elem(), depth+1)
	case kind.Kind() == reflect.Map:
		return fieldsOf(path+"{}", kind.Elem(), depth+1)
	case kind.Kind() != reflect.Struct:
		return []string{path + " " + kind.Kind().String()}
	}
	var fields []string
	for f := range kind.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case f.Anonymous && name == "":
			fields = append(fields, fieldsOf(path, f.Type, depth+1)...)
		case name == "":
			fields = append(fields, fieldsOf(path+"."+f.Name, f.Type, depth+1)...)
		default:
			fields = append(fields, fieldsOf(path+"."+name, f.Type, depth+1)...)
		}
	}
	return fields
}
