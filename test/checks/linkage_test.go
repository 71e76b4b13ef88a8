package checks_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProgramsLinkNoAgent proves one of the walls around secrets: the programs
// that people and networks reach have no code that could open a secret. It looks
// at the whole import graph, which the import rules of the linter, one package
// at a time, don't.
func TestProgramsLinkNoAgent(t *testing.T) {
	for _, program := range []string{"controller", "ctl"} {
		t.Run(program, func(t *testing.T) {
			folder := filepath.Join(root(t), "cmd", program)
			if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
				t.Skipf("cmd/%s does not exist", program)
			}
			// Both systems that it is released for: files with build tags count too.
			for _, goos := range []string{"linux", "darwin"} {
				t.Setenv("GOOS", goos)
				deps := strings.Fields(string(run(t, "go", "list", "-deps", "./cmd/"+program)))
				if len(deps) < 2 {
					t.Fatalf("go list -deps ./cmd/%s for %s lists only %q", program, goos, deps)
				}
				for _, dep := range deps {
					if strings.Contains(dep+"/", "/pkg/agent/") {
						t.Errorf("cmd/%s for %s links %s: secrets live in pkg/agent, this program must not reach them", program, goos, dep)
					}
				}
			}
		})
	}
}
