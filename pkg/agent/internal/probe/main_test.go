package probe_test

import (
	"os"
	"testing"

	"ktrdr.io/fleet/pkg/agent/internal/probe"
)

// As the agent's binary, the test binary is its own helper.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == probe.HelperCommand {
		os.Exit(probe.RunMountHelper(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}
