package agent

import (
	"io"

	"ktrdr.io/fleet/pkg/agent/internal/probe"
)

// MountHelper is the first argument with which the agent starts itself as a helper process
// that probes one mount. Such a process can be abandoned when the file system hangs.
const MountHelper = probe.HelperCommand

// RunMountHelper reads a request from in, probes, and writes the answer to out. It returns
// the exit code of the process.
func RunMountHelper(in io.Reader, out io.Writer) int { return probe.RunMountHelper(in, out) }
