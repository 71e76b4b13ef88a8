package nodes_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ktrdr.io/fleet/test/lab"
)

const module = "../.."

// world is what all tests share.
var world struct { //nolint:gochecknoglobals // set by TestMain before any test runs
	// agent and upgrade are two versions of the agent.
	agent, upgrade, ctl, exec, demo string
	// root is the machines' root file system.
	root    string
	network *lab.Network
	// unavailable says why there are no machines; all tests skip then.
	unavailable error
}

// Versions of the two agents.
const (
	version  = "v0.0.1-nodes"
	upgraded = "v0.0.2-nodes"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if testing.Short() {
		fmt.Println("SKIPPED: -short: machines take minutes")
		return 0
	}
	dir, err := os.MkdirTemp("", "ktrdr-nodes-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	err = prepare(dir)
	if errors.Is(err, lab.ErrUnavailable) {
		world.unavailable = err
		return m.Run()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	code := m.Run()
	if err := world.network.Close(); err != nil {
		fmt.Println("remove the network:", err)
		return 1
	}
	return code
}

func prepare(dir string) (err error) {
	if err := lab.Sweep(); err != nil {
		return fmt.Errorf("remove machines of an aborted run: %w", err)
	}
	ctx, cancel := contextFor(5 * limit) // on a busy machine with an empty build cache
	defer cancel()
	if world.root, err = lab.Root(ctx, module); err != nil {
		return err
	}
	if world.network, err = lab.NewNetwork(ctx); err != nil {
		return err
	}
	world.agent, world.upgrade = filepath.Join(dir, "agent"), filepath.Join(dir, "upgrade")
	world.ctl, world.demo = filepath.Join(dir, "ktrdrctl"), filepath.Join(dir, "ktrdrsim")
	world.exec = filepath.Join(dir, "ktrdr-exec")
	for _, p := range [][3]string{
		{world.agent, "./cmd/agent", version},
		{world.upgrade, "./cmd/agent", upgraded},
		{world.ctl, "./cmd/ctl", version},
		{world.exec, "./cmd/exec", version},
		{world.demo, "./test/demo/ktrdrsim", version},
	} {
		cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w -X ktrdr.io/fleet/pkg/api.Version="+p[2], "-o", p[0], p[1]) //nolint:gosec // fixed arguments
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", p[1], err, out)
		}
	}
	return nil
}
