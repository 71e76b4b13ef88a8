package ctl_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/ctl"
)

// reasons are the values of all constants named Reason… in a file.
func reasons(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, name := range spec.Names {
			if strings.HasPrefix(name.Name, "Reason") && i < len(spec.Values) {
				value, err := strconv.Unquote(spec.Values[i].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, value)
			}
		}
		return true
	})
	if len(list) < 3 {
		t.Fatalf("%s has only %q", file, list)
	}
	return list
}

// TestEveryReasonIsExplained wants a row for each reason there is, and none for one that
// is not.
func TestEveryReasonIsExplained(t *testing.T) {
	known := map[string]bool{}
	for _, file := range []string{"../api/condition.go", "../source/error.go", "../controller/rollout/record.go", "verdict.go"} {
		for _, r := range reasons(t, file) {
			known[r] = true
		}
	}
	explained := map[string]bool{}
	for _, e := range ctl.Explanations() {
		r := string(e.Reason)
		if explained[r] || !known[r] {
			t.Errorf("%s is explained twice, or is no reason", r)
		}
		explained[r] = true
		if e.Meaning == "" || e.Fix == "" && r != "Converged" {
			t.Errorf("%s: meaning %q, fix %q", r, e.Meaning, e.Fix)
		}
	}
	for r := range known {
		if !explained[r] {
			t.Errorf("%s is not explained: add it to explain.go and run this test with -update", r)
		}
	}
}

const conditionsDoc = "../../docs/spec/conditions.md"

// TestConditionsDocument wants the table of the document to be that of the program.
func TestConditionsDocument(t *testing.T) {
	content, err := os.ReadFile(conditionsDoc)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "| reason | meaning | what to do |\n|---|---|---|\n", "\n## "
	before, rest, ok := strings.Cut(string(content), begin)
	if !ok {
		t.Fatalf("%s has no table that begins with %q", conditionsDoc, begin)
	}
	table, after, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatalf("%s has nothing after the table", conditionsDoc)
	}
	var want strings.Builder
	for _, e := range ctl.Explanations() {
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", e.Reason, e.Meaning, e.Fix)
	}
	if *update {
		if err := os.WriteFile(conditionsDoc, []byte(before+begin+want.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(want.String(), "\n"), strings.Split(table, "\n")); diff != "" {
		t.Errorf("%s is not what explain.go says (-want +got); run this test with -update:\n%s", conditionsDoc, diff)
	}
}
