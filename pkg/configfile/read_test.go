package configfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/configfile"
)

type config struct {
	Name string `yaml:"name"`
	Port int    `yaml:"port"`
}

func (c *config) Validate() error {
	if c.Name == "" {
		return errors.New("name: required")
	}
	return nil
}

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct {
		name, content, says string
		want                config
	}{
		{name: "all", content: "name: a\nport: 1\n", want: config{"a", 1}},
		{name: "default stays", content: "name: a\n", want: config{"a", 8}},
		{name: "unknown key", content: "name: a\nnonsense: 1\n", says: "[2:1] unknown field \"nonsense\""},
		{name: "wrong type", content: "name: a\nport: [\n", says: "[2:7]"},
		{name: "nothing but comments", content: "# name: a\n", says: "name: required"},
		{name: "empty", says: "name: required"},
		{name: "second key", content: "name: a\nname: b\n", says: "[2:1]"},
		{name: "too large", content: "name: a\n" + strings.Repeat("#", 1<<20), says: "more than 1048576 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, c.name)
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg := config{Port: 8}
			err := configfile.Read(path, &cfg)
			switch {
			case c.says == "":
				if err != nil || cfg != c.want || configfile.Invalid(err) {
					t.Errorf("%+v, %v", cfg, err)
				}
			case err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path):
				t.Errorf("error %v, want %q of %s", err, c.says, path)
			case !configfile.Invalid(err):
				t.Errorf("not the file's fault: %v", err)
			}
		})
	}
}

// TestNotRead: what could not be read is not invalid.
func TestNotRead(t *testing.T) {
	t.Parallel()
	for _, path := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if err := configfile.Read(path, &config{}); err == nil || configfile.Invalid(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
