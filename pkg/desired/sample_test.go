package desired_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
)

func sample(tb testing.TB) string {
	tb.Helper()
	root, err := filepath.Abs("../../desired-state")
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

// mustLoad loads one node's slice of a repository without problems.
func mustLoad(tb testing.TB, root, node string) *api.Desired {
	tb.Helper()
	d, _, err := desired.Load(tb.Context(), desired.Request{Root: root, Node: node, Revision: "r1"})
	if err != nil {
		tb.Fatalf("load node %s:\n%v", node, err)
	}
	return d
}

// containers lists "stack project: name ports" for all containers of a node.
func containers(d *api.Desired) []string {
	var out []string
	for _, stack := range d.Stacks {
		for _, service := range stack.Services {
			for _, replica := range service.Replicas {
				line := stack.Project + ": " + replica.Name
				for _, port := range replica.Spec.Ports {
					line += " " + port.Published
				}
				out = append(out, line)
			}
		}
	}
	slices.Sort(out)
	return out
}

// env returns the value of a variable of a container.
func env(tb testing.TB, d *api.Desired, container, key string) string {
	tb.Helper()
	for _, stack := range d.Stacks {
		for _, service := range stack.Services {
			for _, replica := range service.Replicas {
				for _, entry := range replica.Spec.Env {
					if name, value, _ := strings.Cut(entry, "="); name == key && replica.Name == container {
						return value
					}
				}
			}
		}
	}
	tb.Errorf("container %s has no variable %s", container, key)
	return ""
}

func TestSampleIsValid(t *testing.T) {
	warnings, err := desired.Validate(t.Context(), sample(t))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v\nwarnings: %v", err, warnings)
	}
	nodes, err := desired.Nodes(t.Context(), sample(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "gpu"}, nodes); diff != "" {
		t.Error(diff)
	}
}

// wantContainers is what the user's nodes run: scale and ports as on the homelab.
func wantContainers() map[string][]string {
	return map[string][]string{
		"a": {
			"ktrdr-connect: ktrdr-connect-api 8443", "ktrdr-connect: ktrdr-connect-sync",
			"ktrdr-core: ktrdr-backend 8000", "ktrdr-core: ktrdr-db", "ktrdr-core: ktrdr-grafana 3000",
			"ktrdr-core: ktrdr-jaeger 16686 4317", "ktrdr-core: ktrdr-mcp", "ktrdr-core: ktrdr-prometheus 9090",
		},
		"b":   {"ktrdr-workers-b: backtest-worker-1 5003", "ktrdr-workers-b: training-worker-1 5005"},
		"c":   {"ktrdr-workers-c: backtest-worker-1 5003"},
		"gpu": {"ktrdr-gpu-worker: training-worker-gpu 5005"},
	}
}

func TestSampleContainers(t *testing.T) {
	for node, want := range wantContainers() {
		if diff := cmp.Diff(want, containers(mustLoad(t, sample(t), node))); diff != "" {
			t.Errorf("node %s (-want +got):\n%s", node, diff)
		}
	}
}

// TestSampleIdentity is acceptance scenario 7: one stack, two nodes, no shared address.
func TestSampleIdentity(t *testing.T) {
	b, c := mustLoad(t, sample(t), "b"), mustLoad(t, sample(t), "c")
	const key = "KTRDR_WORKER_PUBLIC_BASE_URL"
	got := []string{
		env(t, b, "backtest-worker-1", key), env(t, c, "backtest-worker-1", key),
		env(t, b, "backtest-worker-1", "KTRDR_WORKER_ID"), env(t, c, "backtest-worker-1", "KTRDR_WORKER_ID"),
	}
	want := []string{
		"http://workers-b.ktrdr.home.mynerd.place:5003", "http://workers-c.ktrdr.home.mynerd.place:5003",
		"b-backtest-1", "c-backtest-1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSamplePolicy looks at what stack.yaml and nodes add to Compose.
func TestSamplePolicy(t *testing.T) {
	a := mustLoad(t, sample(t), "a")
	core := a.Stacks[slices.IndexFunc(a.Stacks, func(s api.Stack) bool { return s.Name == "core" })]
	gid := 1500
	if diff := cmp.Diff([]api.RequiredMount{{Path: "/mnt/ktrdr_data", Type: "nfs", Writable: true, GID: &gid, Timeout: 5 * time.Second}}, core.Mounts); diff != "" {
		t.Errorf("mounts: %s", diff)
	}
	if diff := cmp.Diff([]string{"/opt/ktrdr-core"}, core.AdoptFrom); diff != "" {
		t.Errorf("adoptFrom: %s", diff)
	}
	if diff := cmp.Diff([]string{"/home/postgres/pgdata/data"}, core.Service("db").Protection.DataPaths); diff != "" {
		t.Errorf("protection: %s", diff)
	}
	probe := core.Service("backend").Probe
	if probe == nil || probe.HTTP == nil || probe.HTTP.Path != "/api/v1/health" || probe.Timeout != 5*time.Second || probe.Failures != 3 {
		t.Errorf("probe of the backend: %+v", probe)
	}
	vault := "op://KTRDR Homelab Secrets/ktrdr-homelab-core/"
	if got := env(t, a, "ktrdr-backend", "KTRDR_AUTH_JWT_SECRET"); got != api.Placeholder(vault+"jwt_secret") {
		t.Errorf("jwt secret: %q", got)
	}
	if diff := cmp.Diff([]api.Registry{{Host: "ghcr.io", Username: "kpiteira", Password: api.Placeholder(vault + "ghcr_token")}}, a.Registries); diff != "" {
		t.Errorf("registries: %s", diff)
	}
	rules := map[string]int{}
	for _, rule := range core.Contract {
		rules[rule.Rule.Name] = rule.Rule.MinLength
		if len(api.References(rule.Value)) == 0 {
			t.Errorf("rule %s was left for later without a secret", rule.Rule.Name)
		}
	}
	want := map[string]int{"GF_ADMIN_PASSWORD": 8, "KTRDR_AUTH_JWT_SECRET": 32, "KTRDR_DB_USER": 0, "KTRDR_DB_PASSWORD": 0}
	if diff := cmp.Diff(want, rules); diff != "" {
		t.Errorf("rules left for when secrets are known: %s", diff)
	}
	for _, service := range mustLoad(t, sample(t), "b").Stacks[0].Services {
		if service.Probe == nil || service.Probe.HTTP == nil || service.Probe.HTTP.Path == "/health" {
			t.Errorf("%s: a probe of /health hides a crashed backend from the worker", service.Name)
		}
		if service.Pool == "" {
			t.Errorf("%s is in no pool", service.Name)
		}
	}
}

// TestSampleTargets: Prometheus asks the controller what runs, with credentials that it gets.
func TestSampleTargets(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(sample(t), "stacks/core/monitoring/prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if text := string(data); !strings.Contains(text, "/v1/sd/prometheus") || strings.Contains(text, "static_configs:") {
		t.Error("prometheus.yml does not ask the controller for its targets, or has some of its own")
	}
	var spec api.ContainerSpec
	for _, stack := range mustLoad(t, sample(t), "a").Stacks {
		if service := stack.Service("prometheus"); service != nil {
			spec = service.Replicas[0].Spec
		}
	}
	for _, match := range regexp.MustCompile(`_file: ([^ }]+)`).FindAllStringSubmatch(string(data), -1) {
		if !slices.ContainsFunc(spec.Files, func(f api.File) bool { return f.Target == match[1] }) {
			t.Errorf("prometheus.yml reads %s, which the container does not have", match[1])
		}
	}
}

// TestUserFiles loads the user's own Compose files, unmodified, with stacks that give them
// the variables they ask for.
func TestUserFiles(t *testing.T) {
	shared := os.Getenv("KTRDR_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	source := filepath.Join(shared, "compose/ktrdr")
	if _, err := os.Stat(source); err != nil {
		t.Skipf("SKIPPED: the user's Compose files are not here: %v", err)
	}
	root := t.TempDir()
	copyTree(t, sample(t), root)
	copyTree(t, "testdata/user", root)
	for file, stack := range map[string]string{
		"docker-compose.core.yml": "core", "docker-compose.workers.yml": "workers", "docker-compose.gpu-worker.yml": "gpu",
		"prometheus.yml": "core/monitoring",
	} {
		copyFile(t, filepath.Join(source, file), filepath.Join(root, "stacks", stack, file))
	}
	if warnings, err := desired.Validate(t.Context(), root); err != nil || len(warnings) > 0 {
		t.Fatalf("%v\nwarnings: %v", err, warnings)
	}
	for node, want := range wantContainers() {
		if diff := cmp.Diff(want, containers(mustLoad(t, root, node))); diff != "" {
			t.Errorf("node %s (-want +got):\n%s", node, diff)
		}
	}
	c := mustLoad(t, root, "c")
	if got := env(t, c, "backtest-worker-1", "KTRDR_WORKER_PUBLIC_BASE_URL"); got != "http://workers-c.ktrdr.home.mynerd.place:5003" {
		t.Errorf("node c registers %s", got)
	}
}

func copyTree(tb testing.TB, from, to string) {
	tb.Helper()
	err := filepath.WalkDir(from, func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		relative, err := filepath.Rel(from, name)
		if err == nil {
			copyFile(tb, name, filepath.Join(to, relative))
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func copyFile(tb testing.TB, from, to string) {
	tb.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// TestLoadIsFast bounds the CPU time of a Load, the best of several: the wall clock of a
// busy machine says nothing.
func TestLoadIsFast(t *testing.T) {
	if testing.Short() {
		t.Skip("a figure of an instrumented run means nothing")
	}
	best := time.Hour
	for range 15 {
		start := cpuTime(t)
		mustLoad(t, sample(t), "a")
		best = min(best, cpuTime(t)-start)
	}
	if best > 100*time.Millisecond {
		t.Errorf("Load takes %s of CPU time, want at most 100ms", best)
	}
}

// cpuTime is what this process has used so far.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// text is a slice of desired state as comparable text.
func text(tb testing.TB, d *api.Desired) string {
	tb.Helper()
	data, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}
