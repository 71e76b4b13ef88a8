package engines_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/test/lab"
)

const (
	module = "../.."
	// fetchLimit bounds a futile download.
	fetchLimit = 10 * time.Minute
	// buildLimit bounds the build of all that runs on them.
	buildLimit = 15 * time.Minute
	// suiteLimit bounds one package's tests on one engine.
	suiteLimit = 15 * time.Minute
	everything = "KTRDR_ENGINES"
)

// suite is a package whose tests run on an engine.
type suite struct {
	pkg string
	// quick and all are patterns for -test.run: what runs always, and with KTRDR_ENGINES=1.
	quick, all string
	// skip is a pattern for -test.skip: what needs no engine and takes long.
	skip string
	// ownTemp gives it a temporary folder of its own: it locks and sweeps the machine's.
	ownTemp bool
	// proof is a test that must have passed, or the engine was not used.
	proof string
}

func suites() []suite {
	const (
		heals = "TestHeals|TestEditConverges|TestNetworkChangeKeepsAddresses|TestNetworkModeFollows|TestAnonymousVolumesStay"
		// What engines of different versions tell differently.
		tales  = "TestJobEndsUnseen|TestJobStoppedByHand|TestRegistry|TestUnhealthyRestarts"
		edits  = "TestHooks|TestConfigContent|TestSubSecondGrace|TestJobsRunOnce|TestHomelab|TestDelivery"
		faults = "TestEngineFaults|TestAgentKilled|TestCrashLoopBacksOff"
	)
	return []suite{
		{pkg: "pkg/agent/internal/engine/enginetest", quick: "^TestDockerConforms$", all: "^TestDockerConforms$", proof: "TestDockerConforms"},
		{pkg: "pkg/agent/internal/engine", quick: ".", all: ".", skip: "^TestParity", proof: "TestReadBack"},
		{pkg: "pkg/agent/internal/engine/observe", quick: "^TestDeathBeatsTheEvent$", all: ".", proof: "TestDeathBeatsTheEvent"},
		{
			pkg: "test/e2e", quick: "^(" + heals + "|" + tales + ")$", all: "^(" + heals + "|" + tales + "|" + edits + "|" + faults + ")$",
			ownTemp: true, proof: "TestHeals",
		},
	}
}

// TestEngines is the acceptance of newer engines.
func TestEngines(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short: newer engines take minutes")
	}
	if os.Getuid() != 0 {
		missing(t, "nodes with engines of their own need root")
	}
	if err := lab.Sweep(); err != nil {
		t.Fatalf("remove nodes of an aborted run: %v", err)
	}
	had, said, err := lab.Engines(t.Context(), module)
	if err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	if len(had) > 0 {
		build(t, programs)
	}
	for _, release := range []string{"trixie", "sid"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			if had[release] == "" {
				missing(t, fmt.Sprintf("the engine of Debian %s can't be had: %s", release, said))
			}
			node := start(t, had[release])
			for _, s := range suites() {
				t.Run(filepath.Base(s.pkg), func(t *testing.T) { run(t, node, s, filepath.Join(programs, filepath.Base(s.pkg))) })
			}
		})
	}
}

// missing skips, unless all tests were asked for.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv(everything) != "" {
		t.Fatal(why)
	}
	t.Skip("SKIPPED: " + why)
}

// build makes the test programs, and the programs that the end-to-end tests use.
func build(t *testing.T, folder string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), buildLimit)
	defer cancel()
	command := func(args ...string) {
		cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // names of this file
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	for _, s := range suites() {
		command("test", "-c", "-o", filepath.Join(folder, filepath.Base(s.pkg)), "./"+s.pkg)
	}
	for name, pkg := range map[string]string{"ktrdr-agent": "./cmd/agent", "ktrdrctl": "./cmd/ctl", "ktrdr-exec": "./cmd/exec", "ktrdrsim": "./test/demo/ktrdrsim"} {
		command("build", "-o", filepath.Join(folder, name), pkg)
	}
}

// start makes a node with the engine of a folder, which is the machine's engine for what
// runs there.
func start(t *testing.T, folder string) *lab.Node {
	t.Helper()
	node, err := lab.StartWith(t.Context(), lab.Options{Programs: folder})
	if errors.Is(err, lab.ErrUnavailable) {
		missing(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Errorf("remove node: %v", err)
		}
	})
	if _, err := node.Run(t.Context(), "ln", "-s", node.Socket, "/run/docker.sock"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(node.Dir, "tmp"), 0o711); err != nil { //nolint:gosec // containers read files in it
		t.Fatal(err)
	}
	return node
}

// run runs a package's tests on a node.
func run(t *testing.T, node *lab.Node, s suite, program string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
	defer cancel()
	pattern := s.quick
	if os.Getenv(everything) != "" {
		pattern = s.all
	}
	folder, err := filepath.Abs(filepath.Join(module, s.pkg))
	if err != nil {
		t.Fatal(err)
	}
	cmd := node.Command(ctx, "env", "--chdir="+folder, program, "-test.v", "-test.count=1", "-test.run="+pattern, "-test.skip="+s.skip)
	cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+node.Socket, "KTRDR_E2E_BINARIES="+filepath.Dir(program), "PATH="+node.Path())
	if s.ownTemp {
		cmd.Env = append(cmd.Env, "TMPDIR="+filepath.Join(node.Dir, "tmp"))
	}
	data, err := cmd.CombinedOutput()
	out := string(data)
	passed := strings.Contains(out, "--- PASS: "+s.proof+" ")
	if err != nil || !passed {
		t.Errorf("%s: %v; %s has passed: %t\n%s", s.pkg, err, s.proof, passed, failures(out))
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "SKIPPED") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// failures leaves out of the output what tells of no failure.
func failures(out string) string {
	var kept []string
	for line := range strings.Lines(out) {
		text := strings.TrimSpace(line)
		if !strings.HasPrefix(text, "=== ") && !strings.HasPrefix(text, "--- PASS") && text != "" {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// TestFetchOfNothing: what can't be had has an exit code of its own and a reason.
func TestFetchOfNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short: it asks the mirror of Debian")
	}
	ctx, cancel := context.WithTimeout(t.Context(), fetchLimit)
	defer cancel()
	for _, args := range [][]string{{"nosuchrelease"}, {"--refresh", "nosuchrelease"}} {
		cmd := exec.CommandContext(ctx, module+"/scripts/engines.sh", args...) //nolint:gosec // names of this file
		cache := t.TempDir()
		cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+cache)
		var out, complaints bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &complaints
		err := cmd.Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 4 {
			t.Errorf("%v: %v, want exit code 4", args, err)
		}
		if out.Len() > 0 || !strings.Contains(complaints.String(), "nosuchrelease can't be had") {
			t.Errorf("%v: printed %q, said %q", args, &out, &complaints)
		}
		if left, err := filepath.Glob(filepath.Join(cache, "ktrdr-fleet/engines/.fetch-*")); err != nil || len(left) > 0 {
			t.Errorf("%v: left over: %v %v", args, left, err)
		}
	}
}
