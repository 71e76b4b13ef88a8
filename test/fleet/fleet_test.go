package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// fleet is a controller, its nodes and who steers them.
type fleet struct {
	controller *node
	nodes      map[string]*node
	// admin may do everything; karl and olga are operators.
	admin, karl, olga *operator
	// baseRevision is the first that was pushed: the sample.
	baseRevision string
	// joined is what the last join said.
	joined string
	// firstPush is what git said of it, firstStatus what the fleet was afterwards.
	firstPush   string
	firstStatus document
}

// theFleet is the fleet that all tests share, which the first one makes.
func theFleet(t *testing.T) *fleet {
	t.Helper()
	if world.unavailable != nil {
		t.Skipf("SKIPPED: nothing is tested on a whole fleet: %v", world.unavailable)
	}
	if world.fleet == nil {
		world.fleet = &fleet{nodes: map[string]*node{}}
		if err := world.fleet.make(t); err != nil {
			world.unavailable = fmt.Errorf("the fleet could not be made: %w", err)
			t.Fatal(err)
		}
	}
	f := world.fleet
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		t.Log(f.controller.lastWords("ktrdr-controller"))
		for _, n := range f.nodes {
			t.Log(n.lastWords("ktrdr-agent"))
		}
	})
	return f
}

// make does what docs/operations.md says for a new fleet.
func (f *fleet) make(t *testing.T) error {
	t.Helper()
	ctx, cancel := contextFor(limit)
	defer cancel()
	began := time.Now()
	if err := f.boot(ctx); err != nil {
		return err
	}
	t.Logf("%d machines booted, nodes with images loaded, in %s", len(f.nodes)+1, since(began))
	began = time.Now()
	if err := f.initController(); err != nil {
		return err
	}
	if err := f.makeOperators(); err != nil {
		return err
	}
	t.Logf("the controller runs, and three people have access, after %s", since(began))
	began = time.Now()
	for _, name := range nodeNames() {
		if err := f.join(f.nodes[name]); err != nil {
			return err
		}
	}
	t.Logf("%d nodes joined in %s", len(f.nodes), since(began))
	began = time.Now()
	if err := writeSample(f.karl.clone); err != nil {
		return err
	}
	f.baseRevision, f.firstPush = f.karl.pushed(t, "KTRDR on the machines of the test")
	f.firstStatus = f.karl.settle(t, f.baseRevision)
	t.Logf("all of KTRDR ran on %d nodes %s after the push", len(f.nodes), since(began))
	return nil
}

func nodeNames() []string { return []string{"a", "b", "c", "gpu"} }

// boot boots all machines at once.
func (f *fleet) boot(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	for i, name := range nodeNames() {
		group.Go(func() error {
			n, err := bootNode(ctx, name, uint64(i)) //nolint:gosec // small
			mu.Lock()
			defer mu.Unlock()
			if n.Machine != nil {
				f.nodes[name] = n
			}
			return err
		})
	}
	group.Go(func() (err error) {
		f.controller, err = bootController(ctx)
		return err
	})
	return group.Wait()
}

func (f *fleet) makeOperators() (err error) {
	if f.admin, err = newOperator("admin", filepath.Join(world.dir, "admin.yaml")); err != nil {
		return err
	}
	for name, who := range map[string]**operator{"karl": &f.karl, "olga": &f.olga} {
		credentials := filepath.Join(world.dir, name+".yaml")
		a := f.admin.try("ktrdrctl", "operator", "add", name, "--role", "operator", "--email", name+"@example.org", "--output", credentials)
		if a.code != 0 {
			return fmt.Errorf("make operator %s: %s", name, a)
		}
		if *who, err = newOperator(name, credentials); err != nil {
			return err
		}
	}
	return nil
}

// join makes a machine a node: a token, and one command on the machine.
func (f *fleet) join(n *node, flags ...string) error {
	file := filepath.Join(world.dir, "join-"+n.name)
	if a := f.admin.try("ktrdrctl", "node", "join-token", n.name, "--output", file); a.code != 0 {
		return fmt.Errorf("make a join token for %s: %s", n.name, a)
	}
	if err := copyFile(file, n.Path("/etc/ktrdr/join-token"), 0o600); err != nil {
		return err
	}
	out, err := n.try("ktrdr-agent", append([]string{"join", "https://" + controllerAddress, "--token-file", "/etc/ktrdr/join-token"}, flags...)...)
	if err != nil {
		return fmt.Errorf("%w: %s\n%s", err, out, n.lastWords("ktrdr-agent"))
	}
	f.joined = out
	return nil
}

func (f *fleet) close() error {
	var errs []error
	for _, n := range append(slices.Collect(maps.Values(f.nodes)), f.controller) {
		if n != nil && n.Machine != nil {
			errs = append(errs, n.Close())
		}
	}
	return errors.Join(errs...)
}

// base brings the fleet back to the sample, whatever the test before has left.
func (f *fleet) base(t *testing.T) *fleet {
	t.Helper()
	for _, n := range f.nodes {
		mend(n)
	}
	if f.karl.pullAndDiff(t, f.baseRevision) != "" {
		if a := f.karl.try("ktrdrctl", "rollback", f.baseRevision, "--no-wait", "--quiet"); a.code != 0 {
			t.Fatalf("go back to the sample: %s", a)
		}
	}
	f.karl.pull(t)
	f.karl.settle(t, f.karl.git(t, "rev-parse", "HEAD"))
	return f
}

// Where the controller keeps its things.
const (
	stateDir      = "/var/lib/ktrdr-controller"
	authorityDir  = stateDir + "/authority"
	repositoryDir = stateDir + "/repository/desired-state.git"
)

// bootController boots the controller's machine and installs its package.
func bootController(ctx context.Context) (*node, error) {
	n := &node{name: "controller"}
	var err error
	if n.Machine, err = world.network.Boot(ctx, machineOptions("controller", "controller.lab", nil)); err != nil {
		return n, err
	}
	_, err = n.install(ctx, version, "ktrdr-controller")
	return n, err
}
