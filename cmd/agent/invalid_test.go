package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/configfile"
)

// TestInvalidConfiguration: run ends with the code that the unit does not try again, what the
// unit runs before leaves it to run, and a file that can't be read is tried again.
func TestInvalidConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const good = "node: a\nsource:\n  dir:\n    path: /srv\n"
	unknown, syntax := file("unknown", good+"nonsense: 1\n"), file("syntax", good+"log: [\n")
	level := file("level", good+"log:\n  level: loud\n")
	for _, c := range []struct {
		command, file string
		code          int
		says          string
	}{
		{"run", unknown, configfile.InvalidCode, "nonsense"},
		{"run", syntax, configfile.InvalidCode, syntax},
		{"run", level, configfile.InvalidCode, "loud"},
		{"check", unknown, 1, "nonsense"},
		{"check", level, 1, "loud"},
		{"prepare", unknown, 0, "the configuration is invalid"},
		{"prepare", level, 0, "the configuration is invalid"},
		{"run", filepath.Join(dir, "none"), 1, "no such file"},
		{"prepare", filepath.Join(dir, "none"), 1, "no such file"},
		{"run", dir, 1, "is a directory"},
	} {
		var out, errs bytes.Buffer
		args := append(strings.Fields(c.command), "--config", c.file)
		if code := run(args, strings.NewReader(""), &out, &errs); code != c.code || !strings.Contains(errs.String(), c.says) || out.Len() > 0 {
			t.Errorf("%q ends with %d, want %d, and says %q", args, code, c.code, errs.String())
		}
	}
}
