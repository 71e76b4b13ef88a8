package desired_test

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"ktrdr.io/fleet/pkg/desired"
)

// TestOpenFiles finds secrets in single files, whether or not the tree has them, and never
// repeats them.
func TestOpenFiles(t *testing.T) {
	key := "-----BEGIN EC PRIVATE" + " KEY-----\nc4nary\n-----END EC PRIVATE" + " KEY-----\n"
	stack := "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: app}\nspec: {plaintextAllowed: [PUBLIC_TOKEN, example.pem]}\n"
	scan, err := desired.OpenFiles(write(t, []txtar.File{{Name: "stacks/app/stack.yaml", Data: []byte(stack)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := scan.Close(); err != nil {
			t.Error(err)
		}
	}()
	for name, c := range map[string]struct {
		file, text string
		want       string // "" = nothing
	}{
		"a key":                        {"stacks/x/tls.pem", key, "stacks/x/tls.pem:1:1: holds a secret"},
		"a key that is let be":         {"stacks/x/example.pem", key, ""},
		"a variable of a node":         {"nodes/a.yaml", "spec:\n  variables:\n    DB_PASSWORD: c4nary\n", "nodes/a.yaml:3:5: spec.variables.DB_PASSWORD: looks like a secret"},
		"a variable of a node's stack": {"nodes/a.yaml", "spec:\n  stacks:\n  - {name: x, variables: {API_KEY: c4nary}}\n", "nodes/a.yaml:3:27: spec.stacks[0].variables.API_KEY: looks like"},
		"an environment":               {"stacks/x/compose.yaml", "services: {app: {environment: {JWT_SECRET: c4nary}}}\n", "stacks/x/compose.yaml:1:32: services.app.environment.JWT_SECRET: "},
		"a list":                       {"stacks/x/compose.yml", "services:\n  app:\n    environment: [A=b, JWT_SECRET=c4nary]\n", "stacks/x/compose.yml:3:24: services.app.environment[1]: "},
		"behind an alias":              {"stacks/x/compose.yaml", "x-e: &e {JWT_SECRET: c4nary}\nservices: {app: {environment: {<<: *e}}}\n", "stacks/x/compose.yaml:1:10: services.app.environment.JWT_SECRET: "},
		"a password in a command":      {"stacks/x/compose.yaml", "services: {app: {command: [run, \"postgres://u:c4nary@db/x\"]}}\n", "stacks/x/compose.yaml:1:33: services.app.command[1]: holds a secret"},
		"an env file":                  {"stacks/x/app.env", "# DB_PASSWORD=x\nexport DB_PASSWORD='c4nary'\n", "stacks/x/app.env:2:1: DB_PASSWORD: looks like a secret"},
		"a key in a Compose file":      {"stacks/x/compose.yaml", "services: {app: {environment: {A: \"-----BEGIN EC PRIVATE" + " KEY-----c4nary\"}}}\n", "stacks/x/compose.yaml:1:36: holds a secret"},
		"a name that is let be":        {"stacks/x/compose.yaml", "services: {app: {environment: {PUBLIC_TOKEN: c4nary}}}\n", ""},
		"only a part is let be":        {"stacks/x/compose.yaml", "services: {app: {environment: {X_PUBLIC_TOKEN: c4nary}}}\n", "stacks/x/compose.yaml:1:32: "},
		"a reference":                  {"stacks/x/compose.yaml", "services: {app: {environment: {JWT_SECRET: op://v/i/f, API_KEY: \"${KEY}\", X_TOKEN: }}}\n", ""},
		"no YAML":                      {"stacks/x/compose.yaml", "services: {app: {environment: {JWT_SECRET: c4nary\n", ""},
		"a key in what is no YAML":     {"stacks/x/compose.yaml", "services: {\n" + key, "stacks/x/compose.yaml:2:1: holds a secret"},
		"another field of that name":   {"stacks/x/stack.yaml", "spec:\n  contract:\n  - {name: DB_PASSWORD, minLength: 8}\n", ""},
	} {
		var said []string
		for _, p := range scan.File(c.file, []byte(c.text)) {
			said = append(said, p.String())
		}
		got := strings.Join(said, "\n")
		if c.want == "" && got != "" || len(said) > 1 || !strings.HasPrefix(got, c.want) || strings.Contains(got, "c4na") {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
