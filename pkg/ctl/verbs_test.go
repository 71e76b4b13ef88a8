package ctl_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/ctl"
)

// TestVerbsAreDocumented wants each verb to have an example in its help, and to stand in
// docs/spec/ctl.md.
func TestVerbsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/spec/ctl.md")
	if err != nil {
		t.Fatal(err)
	}
	verbs := ctl.Verbs()
	if len(verbs) < 30 || !slices.Contains(verbs, "status") || !slices.Contains(verbs, "node join-token") {
		t.Fatalf("verbs are %q", verbs)
	}
	for _, verb := range verbs {
		words := strings.Fields(verb)
		if !bytes.Contains(text, []byte("`"+words[0])) && !bytes.Contains(text, []byte(", `"+words[0])) || !bytes.Contains(text, []byte(words[len(words)-1])) {
			t.Errorf("%s is not in docs/spec/ctl.md", verb)
		}
		var out bytes.Buffer
		code := ctl.Main(t.Context(), ctl.Process{
			Args: append(words, "--help"), Env: func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
		})
		if code != 0 {
			t.Errorf("%s --help ends with %d", verb, code)
		}
		if !strings.Contains(out.String(), "EXAMPLES") && verb != "exit-codes" && verb != "version" && verb != "validate" {
			t.Errorf("%s --help has no example", verb)
		}
	}
}

// TestScriptsRunEveryVerb wants a script that runs each verb and looks at its exit code.
func TestScriptsRunEveryVerb(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("scripts: %q %v", files, err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, verb := range ctl.Verbs() {
		if !regexp.MustCompile(`(?m)^exit \d (--\w+ \S+ )?` + verb + `\b`).MatchString(all.String()) {
			t.Errorf("no script runs %s", verb)
		}
	}
}
