package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/api"
)

// nasty is a value that breaks every way of quoting by hand.
const nasty = "a'b\"c$HOME`id`\\ *\n;rm -rf /tmp/x # ümlaut  two  spaces {{x}} $(id) \\"

// shell runs text by the shim and `sh -c`, with {{R}} standing for the reference.
func shell(t *testing.T, bin, dir, text string) (out, errs string, code int) {
	t.Helper()
	text = strings.ReplaceAll(text, "{{R}}", api.Placeholder("op://v/i/f"))
	cmd := exec.CommandContext(t.Context(), bin, "--", "sh", "-c", text)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "KTRDR_SECRETS_DIR=" + dir, "HOME=/nonexistent"}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// TestShellText: wherever a reference stands in the text of `sh -c`, the value is one word
// and intact, and the shell's own arguments don't show it.
func TestShellText(t *testing.T) {
	bin := build(t)
	dir := secretsDir(t, map[string]string{"op://v/i/f": nasty})
	for _, c := range []struct{ text, want string }{
		{`printf %s {{R}}`, nasty},
		{`printf %s "{{R}}"`, nasty},
		{`printf %s '{{R}}'`, nasty},
		{`printf %s "pre '{{R}}' post"`, "pre '" + nasty + "' post"},
		{`printf %s 'pre "{{R}}" post'`, `pre "` + nasty + `" post`},
		{`printf %s pre{{R}}post`, "pre" + nasty + "post"},
		{`printf %s "$(printf %s. {{R}})"`, nasty + "."},
		{`printf %s "$(printf %s. "{{R}}")"`, nasty + "."},
		{"printf %s \"`printf %s. '{{R}}'`\"", nasty + "."},
		{`(printf %s {{R}})`, nasty},
		{`X={{R}}; printf %s "$X"`, nasty},
		{`printf %s "${X:-{{R}}}"`, nasty},
		{`printf %s\|%s {{R}} \'{{R}}\"`, nasty + "|'" + nasty + `"`},
		{`if [ {{R}} = '{{R}}' ]; then printf same; fi`, "same"},
	} {
		out, errs, _ := shell(t, bin, dir, c.text)
		if !strings.HasSuffix(out, c.want) {
			t.Errorf("%s\ngave   %q\nwanted %q\n%s", c.text, out, c.want, errs)
		}
	}
}

// TestShellArguments: the shell's own arguments don't show the value.
func TestShellArguments(t *testing.T) {
	bin := build(t)
	dir := secretsDir(t, map[string]string{"op://v/i/f": nasty})
	out, errs, code := shell(t, bin, dir, `[ -n {{R}} ] && tr '\0' ' ' </proc/$$/cmdline`)
	if code != 0 || strings.Contains(out, "ümlaut") || !strings.Contains(out, "KTRDR_SECRET_1") {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
}

// TestShellTextRefused: what can't be followed is not run.
func TestShellTextRefused(t *testing.T) {
	bin := build(t)
	dir := secretsDir(t, map[string]string{"op://v/i/f": nasty})
	for text, says := range map[string]string{
		"cat <<EOF\n{{R}}\nEOF": "here-document",
		`printf %s "{{R}}`:      "don't match",
		"x {{R}} # don't":       "don't match",
	} {
		out, errs, code := shell(t, bin, dir, text)
		if code != 125 || out != "" || !strings.Contains(errs, says) || strings.Contains(errs, "ümlaut") {
			t.Errorf("%q: code %d, %q, %q", text, code, out, errs)
		}
	}
}

// TestShellForms: the text is found behind a shell's options, and nothing else is text.
func TestShellForms(t *testing.T) {
	bin := build(t)
	dir := secretsDir(t, map[string]string{"op://v/i/f": nasty})
	ref := api.Placeholder("op://v/i/f")
	for _, c := range []struct {
		argv []string
		want string
	}{
		{[]string{"/bin/sh", "-ec", "printf %s " + ref}, nasty},
		{[]string{"bash", "-o", "pipefail", "-c", "printf %s " + ref}, nasty},
		{[]string{"bash", "-euo", "pipefail", "-c", "printf %s " + ref}, nasty},
		{[]string{"sh", "-c", "--", "printf %s " + ref}, nasty},
		{[]string{"sh", "-c", `printf %s "$1"`, "sh", ref}, nasty},
		{[]string{"printf", "%s", ref}, nasty},
	} {
		cmd := exec.CommandContext(t.Context(), bin, c.argv...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "KTRDR_SECRETS_DIR=" + dir}
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != c.want {
			t.Errorf("%q: %v %q", c.argv, err, out)
		}
	}
}

// TestTooLongForAVariable: the kernel's limit is told in words, with the reference.
func TestTooLongForAVariable(t *testing.T) {
	bin := build(t)
	for size, ok := range map[int]bool{128<<10 - 1 - len("X="): true, 128<<10 - len("X="): false} {
		dir := secretsDir(t, map[string]string{"op://v/i/f": strings.Repeat("x", size)})
		cmd := exec.CommandContext(t.Context(), bin, "true")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "KTRDR_SECRETS_DIR=" + dir, "X=" + api.Placeholder("op://v/i/f")}
		out, err := cmd.CombinedOutput()
		if (err == nil) != ok || !ok && (!strings.Contains(string(out), "op://v/i/f") || !strings.Contains(string(out), "variable X")) {
			t.Errorf("%d bytes: %v %.200s", size, err, out)
		}
	}
}
