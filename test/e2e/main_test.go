package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ktrdr.io/fleet/test/demo/image"
)

// binaries are built once for all tests.
var binaries struct{ agent, ctl string } //nolint:gochecknoglobals // set by TestMain before any test runs

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if !engineAnswers() {
		fmt.Println("SKIP: no Docker engine answers on /var/run/docker.sock; `make test` starts one")
		return 0
	}
	dir, err := os.MkdirTemp("", "ktrdr-e2e-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, name := range []string{"agent", "ctl"} {
		out := filepath.Join(dir, "ktrdr-"+name)
		cmd := exec.Command("go", "build", "-o", out, "ktrdr.io/fleet/cmd/"+name) //nolint:noctx // bounded by the test's own time limit
		if msg, err := cmd.CombinedOutput(); err != nil {
			fmt.Printf("build %s: %v\n%s", name, err, msg)
			return 1
		}
	}
	binaries.agent, binaries.ctl = filepath.Join(dir, "ktrdr-agent"), filepath.Join(dir, "ktrdr-ctl")
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if _, err := image.Build(ctx, image.Options{}); err != nil {
		fmt.Println("make demonstration images:", err)
		return 1
	}
	sweep(ctx)
	code := m.Run()
	sweep(ctx)
	return code
}
