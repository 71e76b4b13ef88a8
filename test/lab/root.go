package lab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Root is the folder of the machines' root file system, which `make test` has made;
// module is the folder of go.mod.
func Root(ctx context.Context, module string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(module, "scripts/node-root.sh"), "--have") //nolint:gosec // a script of this module
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", ErrUnavailable, strings.TrimSpace(complaints.String()))
	}
	return strings.TrimSpace(out.String()), nil
}
