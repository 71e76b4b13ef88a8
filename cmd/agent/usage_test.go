package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestUsage: whatever is written wrong is said, and ends with 2; a file that is named without
// --config is not left out in silence.
func TestUsage(t *testing.T) {
	for line, want := range map[string]string{
		"":                 "ktrdr-agent run",
		"start":            `unknown command "start"`,
		"check agent.yaml": `check takes no "agent.yaml"`,
		"run --confg x":    "flag provided but not defined: -confg",
	} {
		var out, errs bytes.Buffer
		if code := run(strings.Fields(line), strings.NewReader(""), &out, &errs); code != 2 || !strings.Contains(errs.String(), want) || out.Len() > 0 {
			t.Errorf("%q ends with %d and says %q, want %q", line, code, errs.String(), want)
		}
	}
}
