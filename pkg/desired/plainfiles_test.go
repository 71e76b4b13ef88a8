package desired_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"ktrdr.io/fleet/pkg/desired"
)

// TestCheckFiles finds secrets in files that no service reads, and never repeats them.
func TestCheckFiles(t *testing.T) {
	token := "ghp_" + strings.Repeat("c4naryAB", 4) + "c4na"
	key := "-----BEGIN EC PRIVATE" + " KEY-----\nc4nary\n-----END EC PRIVATE" + " KEY-----\n"
	head := func(kind, name, spec string) string {
		return "apiVersion: ktrdr.io/v1alpha1\nkind: " + kind + "\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
	}
	base := map[string]string{
		"fleet.yaml": head("Fleet", "home", "plaintextAllowed: [example.pem]"), "nodes/a.yaml": head("Node", "a", "stacks: [{name: app}]"),
		"stacks/app/stack.yaml": head("Stack", "app", "plaintextAllowed: [PUBLIC_TOKEN]"), "stacks/app/compose.yaml": "services: {app: {image: app}}\n",
	}
	for name, c := range map[string]struct {
		file, text string
		want       string // "" = nothing
	}{
		"a token in a text":           {"stacks/app/notes.txt", "one\ntwo " + token + "\n", "stacks/app/notes.txt:2:5: "},
		"a token in a comment":        {"nodes/a.yaml", base["nodes/a.yaml"] + "# " + token + "\n", "nodes/a.yaml:5:3: "},
		"a key beside a Compose file": {"stacks/app/tls.pem", key, "stacks/app/tls.pem:1:1: "},
		"a key in a hidden file":      {".ssh/id", key, ".ssh/id:1:1: "},
		"a key in a binary file":      {"stacks/app/data", "\x00\xff" + key, "stacks/app/data:1:3: "},
		"a file that is let be":       {"stacks/app/tls/example.pem", key, ""},
		"a name that is let be":       {"stacks/app/app.env", "PUBLIC_TOKEN=" + token + "\n", ""},
		"a certificate":               {"stacks/app/ca.pem", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n", ""},
		"a word that begins alike":    {"README.md", "set ghp_TOKEN, see AKIA and eyJ\n", ""},
	} {
		var files []txtar.File
		for at, text := range base {
			if at != c.file {
				files = append(files, txtar.File{Name: at, Data: []byte(text)})
			}
		}
		err := desired.CheckFiles(t.Context(), write(t, append(files, txtar.File{Name: c.file, Data: []byte(c.text)})))
		var found *desired.Error
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (!errors.As(err, &found) || len(found.Problems) != 1 || !strings.HasPrefix(err.Error(), c.want)):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		case err != nil && strings.Contains(err.Error(), "c4na"):
			t.Errorf("%s: the secret is repeated: %v", name, err)
		}
	}
}

// TestSampleHasNoSecrets in any file.
func TestSampleHasNoSecrets(t *testing.T) {
	root, err := filepath.Abs("../../desired-state")
	if err != nil {
		t.Fatal(err)
	}
	if err := desired.CheckFiles(t.Context(), root); err != nil {
		t.Error(err)
	}
}
