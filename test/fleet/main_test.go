package fleet_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/test/demo/image"
	"ktrdr.io/fleet/test/lab"
	"ktrdr.io/fleet/test/look"
)

const module = "../.."

// limit bounds what is waited for: generous, because other tests run beside.
const limit = 3 * time.Minute

// world is what all tests share.
var world struct { //nolint:gochecknoglobals // set by TestMain before any test runs
	// dir holds the programs and what operators have.
	dir string
	// root is the machines' root file system.
	root    string
	network *lab.Network
	// fleet is made by the first test that needs it.
	fleet *fleet
	// unavailable says why there are no machines; all tests skip then.
	unavailable error
}

// Versions of the programs.
const (
	version  = "v0.0.1-fleet"
	upgraded = "v0.0.2-fleet"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("SKIPPED: -short: machines take minutes")
		return 0
	}
	dir, err := os.MkdirTemp("", "ktrdr-fleet-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	world.dir = dir
	defer func() {
		if err := errors.Join(closeWorld(), os.RemoveAll(dir)); err != nil {
			fmt.Println("remove the fleet:", err)
			code = 1
		}
	}()
	err = prepare()
	if errors.Is(err, lab.ErrUnavailable) {
		world.unavailable = err
		return m.Run()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return m.Run()
}

func closeWorld() error {
	var errs []error
	if world.fleet != nil {
		errs = append(errs, world.fleet.close())
	}
	if world.network != nil {
		errs = append(errs, world.network.Close())
	}
	return errors.Join(errs...)
}

func prepare() (err error) {
	if err := lab.Sweep(); err != nil {
		return fmt.Errorf("remove machines of an aborted run: %w", err)
	}
	ctx, cancel := contextFor(3 * limit) // on a busy machine with an empty build cache
	defer cancel()
	if world.root, err = lab.Root(ctx, module); err != nil {
		return err
	}
	if world.network, err = lab.NewNetwork(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := build(ctx); err != nil {
		return err
	}
	fmt.Printf("built in %s\n", time.Since(began).Round(time.Millisecond))
	return nil
}

// program is where a program of the product lies, as it was built for the first machines.
func program(name string) string { return filepath.Join(world.dir, "bin", name) }

// newer is the next version of a program that has one.
func newer(name string) string { return filepath.Join(world.dir, "upgrade", name) }

func build(ctx context.Context) error {
	group, building := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for _, p := range [][3]string{
		{program("ktrdr-agent"), "./cmd/agent", version},
		{program("ktrdr-controller"), "./cmd/controller", version},
		{program("ktrdrctl"), "./cmd/ctl", version},
		{program("ktrdr-exec"), "./cmd/exec", version},
		{program("ktrdrsim"), "./test/demo/ktrdrsim", version},
		{newer("ktrdr-agent"), "./cmd/agent", upgraded},
		{newer("ktrdr-controller"), "./cmd/controller", upgraded},
	} {
		group.Go(func() error {
			cmd := exec.CommandContext(building, "go", "build", "-ldflags", "-s -w -X ktrdr.io/fleet/pkg/api.Version="+p[2], "-o", p[0], p[1]) //nolint:gosec // fixed arguments
			cmd.Dir = module
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("build %s: %w\n%s", p[1], err, out)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return buildPackages(ctx)
}

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// loadImages puts the demonstration's images into a machine's engine.
func loadImages(ctx context.Context, m *lab.Machine) error {
	_, err := image.Build(ctx, image.Options{Host: "unix://" + m.Socket(), Program: program("ktrdrsim")})
	return err
}

// poll tries cond every 50 ms; false means that the limit is over.
func poll(t *testing.T, cond func() bool) bool {
	t.Helper()
	return look.Until(t.Context(), limit, 50*time.Millisecond, cond) == nil
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	if !poll(t, cond) {
		t.Fatalf("%s: not within %s", what, limit)
	}
}
