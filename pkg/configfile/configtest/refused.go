package configtest

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/configfile"
)

// Program is a program that reads a configuration.
type Program struct {
	// Run is its main function; it returns the exit code.
	Run func(args []string, out, errs io.Writer) int
	// Good is a configuration without a log section.
	Good string
	// Prepare is the command that its unit runs before `run`.
	Prepare string
}

// Refuses checks that `run` ends with the code that the unit does not try again when the
// configuration is invalid, that what the unit runs before leaves that to it, and that a file
// which can't be read is tried again.
func Refuses(t *testing.T, p Program) {
	t.Helper()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	unknown, syntax := file("unknown", p.Good+"nonsense: 1\n"), file("syntax", p.Good+"log: [\n")
	level := file("level", p.Good+"log:\n  level: loud\n")
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
		{p.Prepare, unknown, 0, "the configuration is invalid"},
		{p.Prepare, level, 0, "the configuration is invalid"},
		{"run", filepath.Join(dir, "none"), 1, "no such file"},
		{p.Prepare, filepath.Join(dir, "none"), 1, "no such file"},
		{"run", dir, 1, "is a directory"},
	} {
		var out, errs bytes.Buffer
		args := append(strings.Fields(c.command), "--config", c.file)
		if code := p.Run(args, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.says) || out.Len() > 0 {
			t.Errorf("%q ends with %d, want %d, and says %q", args, code, c.code, errs.String())
		}
	}
}
