package checks_test

import (
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const maxLines = 400

// TestPackagesHaveDoc wants a doc.go with a package comment in each package: it
// says what the package does, what it never does and who calls it.
func TestPackagesHaveDoc(t *testing.T) {
	files := tracked(t)
	folders := map[string]bool{}
	for _, name := range files {
		if strings.HasPrefix(name, "pkg/") && strings.HasSuffix(name, ".go") && !fixture(name) {
			folders[path.Dir(name)] = true
		}
	}
	if len(folders) == 0 {
		t.Fatal("no package under pkg/")
	}
	for folder := range folders {
		doc := folder + "/doc.go"
		if !slices.Contains(files, doc) {
			t.Errorf("%s has no doc.go", folder)
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), doc, read(t, doc), parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Errorf("parse %s: %v", doc, err)
			continue
		}
		if !strings.HasPrefix(parsed.Doc.Text(), "Package "+parsed.Name.Name+" ") {
			t.Errorf("%s: the package comment must begin with %q", doc, "Package "+parsed.Name.Name+" ")
		}
	}
}

// TestFileSizes bounds source files; who needs more has two files.
func TestFileSizes(t *testing.T) {
	for _, name := range tracked(t) {
		if !slices.Contains([]string{".go", ".sh", ".proto"}, filepath.Ext(name)) || fixture(name) {
			continue
		}
		content := read(t, name)
		if strings.HasSuffix(name, ".go") && generated(content) {
			continue
		}
		if n := strings.Count(string(content), "\n"); n > maxLines {
			t.Errorf("%s has %d lines, more than %d", name, n, maxLines)
		}
	}
}

// TestNothingForeign refuses what comes from one machine or from an unfinished
// merge. The strings are put together here so that this file passes.
func TestNothingForeign(t *testing.T) {
	everywhere := map[string]string{
		"/work/" + "main":      "a path of one machine",
		"/work/" + "shared":    "a path of one machine",
		"/work/" + ".library":  "a path of one machine",
		"/tmp/" + "brief":      "a path of one machine",
		"GOPROXY" + "=":        "whoever builds chooses the proxy",
		"<<<<<<" + "< ":        "a conflict marker",
		">>>>>>" + "> ":        "a conflict marker",
		"Co-Authored" + "-By:": "a line of a commit message",
	}
	inSource := map[string]string{
		"TO" + "DO":  "finish it, or file an issue",
		"FIX" + "ME": "fix it, or file an issue",
	}
	for _, name := range tracked(t) {
		content := read(t, name)
		if binary(content) {
			continue
		}
		source := !fixture(name) && slices.Contains([]string{".go", ".sh", ".proto"}, filepath.Ext(name))
		for number, line := range lines(content) {
			refuse(t, place{name, number}, line, everywhere)
			if source {
				refuse(t, place{name, number}, line, inSource)
			}
		}
	}
}

type place struct {
	name string
	line int
}

func refuse(t *testing.T, at place, line string, words map[string]string) {
	t.Helper()
	for word, why := range words {
		if strings.Contains(line, word) {
			t.Errorf("%s:%d: %q does not belong here: %s", at.name, at.line, word, why)
		}
	}
}

var (
	suppression = regexp.MustCompile(`//\s*nolint\b`)
	reasoned    = regexp.MustCompile(`//nolint:[a-z]+(,[a-z]+)* // \S`)
)

// TestSuppressionsHaveReason wants each //nolint to name its linters and to say why.
func TestSuppressionsHaveReason(t *testing.T) {
	for _, name := range tracked(t) {
		if !strings.HasSuffix(name, ".go") || strings.HasPrefix(name, "test/checks/") {
			continue
		}
		for number, line := range lines(read(t, name)) {
			if suppression.MatchString(line) && !reasoned.MatchString(line) {
				t.Errorf("%s:%d: write //nolint:<linter> // <why>", name, number)
			}
		}
	}
}
