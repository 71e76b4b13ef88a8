package ctl

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// printedCommand is a command in a text: between backticks, in a block of code, or after a colon
// in what a program says.
var printedCommand = regexp.MustCompile("ktrdrctl((?: +[^ `\"'|;)(&>]+)*)") //nolint:gochecknoglobals // a constant that Go can't write as one

// TestPrintedCommandsExist wants each command that the documents print to be one: its verbs exist,
// and it has the flags that are written.
func TestPrintedCommandsExist(t *testing.T) {
	files := []string{"../../README.md", "../../CONTRIBUTING.md", "../../scripts/quickstart.sh", "../../packaging/agent.yaml", "../../packaging/controller.yaml"}
	for _, pattern := range []string{"../../docs/*.md", "../../docs/*/*.md", "../../desired-state/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	count := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range printedCode(file, text) {
			code, _, _ = strings.Cut(code, " # ") // what follows is for people
			for _, m := range printedCommand.FindAllStringSubmatch(code, -1) {
				count++
				if problem := checkPrinted(strings.Fields(m[1])); problem != "" {
					t.Errorf("%s: %s: %s", file, strings.TrimSpace(m[0]), problem)
				}
			}
		}
	}
	if count < 100 {
		t.Errorf("only %d commands were found", count)
	}
}

// printedCode is what stands between backticks and in blocks of code; all of what is no Markdown.
func printedCode(file string, text []byte) []string {
	if !strings.HasSuffix(file, ".md") {
		var out []string
		for line := range bytes.SplitSeq(text, []byte("\n")) {
			if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) {
				out = append(out, string(line))
			}
		}
		return out
	}
	var out []string
	for i, part := range strings.Split(string(text), "```") {
		if i%2 == 1 {
			out = append(out, strings.Split(part, "\n")...)
			continue
		}
		for j, code := range strings.Split(part, "`") {
			if j%2 == 1 {
				out = append(out, code)
			}
		}
	}
	return out
}

func checkPrinted(words []string) string {
	root := newRoot(&session{process: Process{Env: func(string) string { return "" }}})
	if len(words) == 0 {
		return ""
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(words...)
	for len(words) > 1 && strings.HasPrefix(words[0], "--") { // --agent ADDRESS before the verb
		words = words[2:]
	}
	if len(words) == 0 || words[0] == "…" || words[0] == "VERB" || words[0] == "git-credential" {
		return ""
	}
	cmd, _, err := root.Find(words)
	if err != nil || cmd == root {
		return "there is no such verb"
	}
	cmd.InitDefaultHelpFlag()
	for _, word := range words {
		name, _, _ := strings.Cut(strings.TrimRight(word, ".,:]"), "=")
		if long, ok := strings.CutPrefix(name, "--"); ok && long != "" && cmd.Flag(long) == nil {
			return "it has no flag " + name
		}
		if short, ok := strings.CutPrefix(name, "-"); ok && len(short) == 1 && cmd.Flags().ShorthandLookup(short) == nil && cmd.InheritedFlags().ShorthandLookup(short) == nil {
			return "it has no flag " + name
		}
	}
	return ""
}
