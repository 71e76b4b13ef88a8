package plan_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// kindsOfSource reads the constants of type Kind, so that a new one can't be forgotten.
func kindsOfSource(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "op.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != "Kind" {
			return true
		}
		for _, value := range spec.Values {
			text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, text)
		}
		return true
	})
	if len(list) < 20 {
		t.Fatalf("op.go has %d kinds only: %q", len(list), list)
	}
	return list
}

// TestDocument: docs/spec/plan.md has a row for every kind of operation, and none beyond.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/spec/plan.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for line := range strings.SplitSeq(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(rest, "`")
			rows[name] = true
		}
	}
	for _, kind := range kindsOfSource(t) {
		if !rows[kind] {
			t.Errorf("docs/spec/plan.md has no row for %s", kind)
		}
		delete(rows, kind)
	}
	for name := range rows {
		t.Errorf("docs/spec/plan.md has a row for %s, which is no kind of operation", name)
	}
}

// TestGoldenKinds: every kind of operation stands in a golden plan.
func TestGoldenKinds(t *testing.T) {
	if *update {
		t.Skip("the golden files are being rewritten")
	}
	archives, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range archives {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, kind := range kindsOfSource(t) {
		if !strings.Contains(all.String(), ". "+kind+" ") {
			t.Errorf("no golden plan has %s", kind)
		}
	}
}
