package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	printedCommand = regexp.MustCompile("(-[ugo] +)?ktrdr-controller +(operator add|authority replace|[a-z]+)((?: +[^ `\"'|;)(&>]+)*)")
	inlineCode     = regexp.MustCompile("`[^`\n]+`")
	fencedCode     = regexp.MustCompile("(?s)```.*?```")
)

// TestPrintedCommandsExist wants each command that the documents print to be one, with the flags
// that are written.
func TestPrintedCommandsExist(t *testing.T) {
	files := []string{"../../README.md", "../../packaging/controller.yaml", "../../packaging/systemd/ktrdr-controller.service"}
	for _, pattern := range []string{"../../docs/*.md", "../../docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		must(t, err)
		files = append(files, found...)
	}
	count := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		must(t, err)
		text := string(content)
		if strings.HasSuffix(file, ".md") {
			blocks := fencedCode.FindAllString(text, -1)
			text = strings.Join(append(inlineCode.FindAllString(fencedCode.ReplaceAllString(text, ""), -1), blocks...), "\n")
		}
		for _, m := range printedCommand.FindAllStringSubmatch(text, -1) {
			if m[1] != "" { // the user
				continue
			}
			count++
			var help bytes.Buffer
			run(append(strings.Fields(m[2]), "--help"), &help, &help)
			if strings.Contains(help.String(), "unknown command") {
				t.Errorf("%s: %s: there is no such command", file, m[0])
			}
			for word := range strings.FieldsSeq(m[3]) {
				name, _, _ := strings.Cut(strings.Trim(word, "[].,:"), "=")
				if flag, ok := strings.CutPrefix(name, "--"); ok && !strings.Contains(help.String(), "  -"+flag) {
					t.Errorf("%s: %s: it has no flag --%s", file, m[0], flag)
				}
			}
		}
	}
	if count < 20 {
		t.Errorf("only %d commands were found", count)
	}
}
