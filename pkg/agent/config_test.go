package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/agent"
)

// TestConfigOfComments: a file that says nothing lacks what has no default, and nothing else.
func TestConfigOfComments(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.yaml")
	for _, text := range []string{"", "# node: b\n", "---\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := agent.ReadConfig(path)
		if err == nil {
			t.Fatalf("%q is taken for a configuration", text)
		}
		for _, want := range []string{"node: required", "source: "} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v does not say %q", text, err, want)
			}
		}
		if strings.Contains(err.Error(), "absolute path") || strings.Contains(err.Error(), "refresh") {
			t.Errorf("%q: defaults are called wrong: %v", text, err)
		}
	}
}
