package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Root is the folder of the machines' root file system, which `make test` has made;
// module is the folder of go.mod.
func Root(ctx context.Context, module string) (string, error) {
	out, complaints, err := script(ctx, module, "node-root.sh")
	if err != nil {
		return "", fmt.Errorf("%w: %s", ErrUnavailable, complaints)
	}
	return strings.TrimSpace(out), nil
}

// DatabaseRoot is the folder of the root file system with a PostgreSQL, likewise.
func DatabaseRoot(ctx context.Context, module string) (string, error) {
	out, complaints, err := script(ctx, module, "database-root.sh")
	if err != nil {
		return "", fmt.Errorf("%w: %s", ErrUnavailable, complaints)
	}
	return strings.TrimSpace(out), nil
}

// Engines are the folders of the newer engines that `make test` has fetched, by Debian's
// name of their release, and why others are not there. They fit Options.Programs.
func Engines(ctx context.Context, module string) (folders map[string]string, missing string, err error) {
	out, complaints, err := script(ctx, module, "engines.sh")
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() < 3) {
		return nil, "", fmt.Errorf("scripts/engines.sh: %w: %s", err, complaints)
	}
	folders = map[string]string{}
	for line := range strings.Lines(out) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if len(fields) != 3 {
			return nil, "", fmt.Errorf("scripts/engines.sh printed %q", line)
		}
		folders[fields[0]] = fields[2]
	}
	return folders, complaints, nil
}

// script asks for what is there already.
func script(ctx context.Context, module, name string) (out, complaints string, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(module, "scripts", name), "--have") //nolint:gosec // a script of this module
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), strings.TrimSpace(stderr.String()), err
}
