package compose_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/compose"
)

// shared is the folder of the user's real files, absent outside of the workplace.
func shared(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("KTRDR_SHARED")
	if dir == "" {
		dir = "../../../../shared"
	}
	dir, err := filepath.Abs(filepath.Join(dir, "compose"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("SKIPPED: no corpus at %s; set KTRDR_SHARED", dir)
	}
	return dir
}

// ktrdrVariables are those that the files need; secrets are references.
func ktrdrVariables(name string) (string, bool) {
	switch name {
	case "KTRDR_DB_NAME":
		return "ktrdr", true
	case "KTRDR_DB_USER", "DB_USER":
		return api.Placeholder("op://KTRDR Homelab Secrets/ktrdr-homelab-core/db_username"), true
	case "KTRDR_DB_PASSWORD", "DB_PASSWORD", "KTRDR_AUTH_JWT_SECRET", "GF_ADMIN_PASSWORD":
		return api.Placeholder("op://KTRDR Homelab Secrets/ktrdr-homelab-core/" + name), true
	}
	return "", false
}

func TestKTRDR(t *testing.T) {
	root := shared(t)
	files, err := filepath.Glob(filepath.Join(root, "ktrdr", "*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name, _ := filepath.Rel(root, file)
		if filepath.Base(file) == "prometheus.yml" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			p, err := compose.Load(t.Context(), compose.Request{
				Root: root, Dir: "ktrdr", Files: []string{name}, Project: "ktrdr", WorkingDirectory: "/opt/ktrdr",
				Lookup: ktrdrVariables,
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Services) == 0 {
				t.Fatal("no services")
			}
			out, _ := json.MarshalIndent(p, "", " ")
			t.Logf("%s", out)
		})
	}
}
