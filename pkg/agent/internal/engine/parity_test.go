package engine_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/dotenv"

	"ktrdr.io/fleet/pkg/agent/apply"
	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/compose"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/test/parity"
	"ktrdr.io/fleet/test/parity/recorder"
)

// moduleRoot is the folder of go.mod, seen from this package.
func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestParityOfEveryAttribute compares our requests with those of docker compose for test
// files that use every attribute, on an old, a middle and a new engine.
func TestParityOfEveryAttribute(t *testing.T) {
	root := moduleRoot(t)
	binary := parity.Compose(t, root)
	files, err := filepath.Glob(filepath.Join(root, "test", "parity", "testdata", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	applied := map[string]int{}
	for _, version := range []string{"1.41", "1.44", "1.51"} {
		for _, file := range files {
			t.Run(version+"/"+filepath.Base(file), func(t *testing.T) {
				result := comparison{binary: binary, version: version, file: file}.run(t)
				for rule, times := range result.Applied {
					applied[rule] += times
				}
				if result.Compared == 0 {
					t.Error("nothing was compared")
				}
			})
		}
	}
	if t.Failed() {
		return
	}
	for _, rule := range parity.Rules() {
		if applied[rule.Name] == 0 {
			t.Errorf("rule %s explains nothing any more: remove it", rule.Name)
		}
	}
}

// TestParityOfTheCorpus does so for public Compose files and the user's own. Files that
// our side refuses are counted; each has to be refused with a reason.
func TestParityOfTheCorpus(t *testing.T) {
	root := moduleRoot(t)
	corpus := os.Getenv("KTRDR_SHARED")
	if corpus == "" {
		corpus = filepath.Join(root, "..", "shared")
	}
	corpus = filepath.Join(corpus, "compose")
	if _, err := os.Stat(corpus); err != nil {
		t.Skipf("SKIPPED: no corpus: %v", err)
	}
	binary := parity.Compose(t, root)
	compared, refused := 0, 0
	for _, file := range composeFiles(t, corpus) {
		name, _ := filepath.Rel(corpus, file)
		t.Run(name, func(t *testing.T) {
			result := comparison{binary: binary, version: "1.41", file: file, corpus: true}.run(t)
			compared += result.Compared
			if result.Compared == 0 {
				refused++
			}
		})
	}
	t.Logf("%d requests of docker compose were compared; %d files have nothing that both sides accept", compared, refused)
	if !t.Failed() && (compared < 200 || refused > 5) {
		t.Error("too few")
	}
}

func composeFiles(t *testing.T, corpus string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(corpus, func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		isCompose := strings.HasSuffix(path, "compose.yaml") || strings.HasSuffix(path, "compose.yml") || strings.HasPrefix(name, "docker-compose.")
		if err == nil && !entry.IsDir() && isCompose {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// comparison is one file on one version of the engine.
type comparison struct {
	binary, version, file string
	corpus                bool
}

const parityProject = "parity"

func (c comparison) run(t *testing.T) parity.Result {
	t.Helper()
	folder := c.stage(t)
	name := filepath.Base(c.file)
	project, loadErr := c.load(t, folder, name)

	theirs := recorder.Start(t, c.version)
	c.provide(theirs, project)
	args := []string{"-p", parityProject, "-f", name, "--progress", "quiet", "create", "--no-build"}
	if strings.HasPrefix(name, "up-") {
		args = []string{"-p", parityProject, "-f", name, "--progress", "quiet", "up", "-d", "--no-build"}
	}
	said, composeErr := parity.Run(t, c.binary, theirs.Host, folder, args...)
	if unknown := theirs.Unknown(); len(unknown) > 0 {
		t.Fatalf("the recorder does not know %v", unknown)
	}
	if c.corpus && (loadErr != nil || composeErr != nil) {
		// Either side may refuse a public file, with a reason.
		t.Logf("not compared: ours: %v; docker compose: %v %s", loadErr, composeErr, last(said))
		return parity.Result{}
	}
	if loadErr != nil {
		t.Fatalf("our side refuses the file: %v", loadErr)
	}
	ours := recorder.Start(t, c.version)
	c.provide(ours, project)
	facts := c.drive(t, ours, project, folder)
	if composeErr != nil && !isOldEngineRefusal(said) {
		t.Fatalf("docker compose: %v: %s", composeErr, said)
	}
	if unknown := ours.Unknown(); len(unknown) > 0 {
		t.Fatalf("the recorder does not know %v", unknown)
	}
	if composeErr != nil {
		if len(facts.Refused) == 0 {
			t.Errorf("docker compose refuses what we accept: %s", said)
		}
		return parity.Result{Compared: 1}
	}
	result := parity.Compare(theirs.Requests(), ours.Requests(), facts)
	for _, difference := range result.Differences {
		t.Error(difference)
	}
	return result
}

// isOldEngineRefusal tells that docker compose itself finds the engine too old.
func isOldEngineRefusal(said string) bool { return strings.Contains(said, "or later") }

func last(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	return lines[len(lines)-1]
}

// stage copies the file's folder to a place that is neither shared nor read-only.
func (c comparison) stage(t *testing.T) string {
	t.Helper()
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(folder, os.DirFS(filepath.Dir(c.file))); err != nil {
		t.Fatal(err)
	}
	if c.corpus {
		completeCorpusFile(t, folder, filepath.Base(c.file))
	}
	return folder
}

func (c comparison) load(t *testing.T, folder, name string) (*compose.Project, error) {
	t.Helper()
	variables := map[string]string{}
	if file, err := os.Open(filepath.Join(folder, ".env")); err == nil {
		defer func() { _ = file.Close() }()
		if variables, err = dotenv.Parse(file); err != nil {
			return nil, err
		}
	}
	return compose.Load(t.Context(), compose.Request{
		Root: folder, Dir: ".", Files: []string{name}, Project: parityProject, WorkingDirectory: folder,
		Lookup: func(name string) (string, bool) { value, ok := variables[name]; return value, ok },
	})
}

// provide makes what is external, so that neither side misses it.
func (c comparison) provide(r *recorder.Recorder, project *compose.Project) {
	if project == nil {
		return
	}
	for _, network := range project.Networks {
		if network.External {
			r.Provide("network", network.Name)
		}
	}
	for _, volume := range project.Volumes {
		if volume.External {
			r.Provide("volume", volume.Name)
		}
	}
}

// drive applies the operations that a plan for an empty engine has, in its order.
func (c comparison) drive(t *testing.T, r *recorder.Recorder, project *compose.Project, folder string) parity.Facts {
	t.Helper()
	client, err := engine.New(engine.Config{Host: r.Host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	world := &parityWorld{client: client, observed: api.Observed{Containers: map[string]*api.Container{}, Images: map[string]*api.Image{}}}
	executor := apply.New(apply.Config{
		Engine: client, Cache: world, World: world, Memory: noMemory{}, Secrets: noSecrets{}, Files: inPlace{}, Checker: noChecker{},
		Log: slog.New(slog.DiscardHandler),
	})
	stack := &api.Stack{
		Name: parityProject, Project: parityProject, WorkingDir: folder, ConfigFiles: []string{filepath.Join(folder, filepath.Base(c.file))},
		Services: project.Services, Networks: project.Networks, Volumes: project.Volumes,
	}
	target := plan.Target{Desired: &api.Desired{Node: "n", Root: folder, Stacks: []api.Stack{*stack}}, Stack: stack}
	facts := parity.Facts{Version: c.version, Fractions: map[string]bool{}, Refused: map[string]bool{}}
	must := func(op plan.Op) {
		if err := executor.Apply(t.Context(), op, target); err != nil {
			t.Errorf("%s %s: %v", op.Kind, op.Object, err)
		}
	}
	for i := range stack.Networks {
		if !stack.Networks[i].External {
			must(plan.Op{Kind: plan.CreateNetwork, Object: stack.Networks[i].Name, Network: &stack.Networks[i]})
		}
	}
	for i := range stack.Volumes {
		if !stack.Volumes[i].External {
			must(plan.Op{Kind: plan.CreateVolume, Object: stack.Volumes[i].Name, Volume: &stack.Volumes[i]})
		}
	}
	for _, service := range inOrder(t, stack.Services) {
		for i := range service.Replicas {
			replica := &service.Replicas[i]
			world.observed.Images[replica.Spec.Image] = &api.Image{ID: "sha256:" + recorder.ID("image", replica.Spec.Image)}
			op := plan.Op{
				Kind: plan.Create, Object: replica.Name, NewName: replica.Name, Service: service.Name,
				Replica: replica, Wanted: service, Parents: world.parents(service, replica),
			}
			if grace := replica.Spec.StopGrace; grace != nil && *grace%time.Second != 0 {
				facts.Fractions[replica.Name] = true
			}
			err := executor.Apply(t.Context(), op, target)
			if failure, ok := errors.AsType[*engine.Error](err); ok && failure.Reason == api.ReasonUnsupported {
				facts.Refused[replica.Name] = true
				continue
			}
			if err != nil {
				t.Errorf("create %s: %v", replica.Name, err)
				continue
			}
			if len(replica.Spec.Files) > 0 && strings.HasPrefix(filepath.Base(c.file), "up-") {
				must(plan.Op{Kind: plan.CopyFiles, Object: replica.Name, ID: recorder.ID("container", replica.Name), Replica: replica})
			}
		}
	}
	return facts
}

// inOrder puts services after those whose namespaces, volumes or names they use.
func inOrder(t *testing.T, services []api.Service) []*api.Service {
	t.Helper()
	var ordered []*api.Service
	done := map[string]bool{}
	for len(ordered) < len(services) {
		before := len(ordered)
		for i := range services {
			service := &services[i]
			ready := !done[service.Name]
			for _, replica := range service.Replicas {
				for _, parent := range parentsOf(replica.Spec) {
					known := slices.ContainsFunc(services, func(s api.Service) bool { return s.Name == parent })
					ready = ready && (done[parent] || !known)
				}
			}
			if ready {
				done[service.Name] = true
				ordered = append(ordered, service)
			}
		}
		if len(ordered) == before {
			t.Fatal("services use each other in a circle")
		}
	}
	return ordered
}

func parentsOf(spec api.ContainerSpec) []string {
	var names []string
	for _, ref := range slices.Concat([]string{spec.NetworkMode, spec.IpcMode, spec.PidMode}, spec.VolumesFrom) {
		if name, ok := strings.CutPrefix(ref, "service:"); ok {
			name, _, _ = strings.Cut(name, ":")
			names = append(names, name)
		}
	}
	for _, link := range spec.Links {
		name, _, _ := strings.Cut(link, ":")
		names = append(names, name)
	}
	return names
}

// parityWorld is what apply knows about the recorder.
type parityWorld struct {
	client   *engine.Client
	observed api.Observed
}

func (w *parityWorld) parents(service *api.Service, replica *api.Replica) map[string]string {
	parents := map[string]string{}
	for _, name := range parentsOf(replica.Spec) {
		for id, c := range w.observed.Containers {
			if c.Labels[api.LabelService] == name && c.Labels[api.LabelNumber] == "1" {
				parents[name] = id
			}
		}
	}
	return parents
}

func (w *parityWorld) Snapshot() *api.Observed  { return &w.observed }
func (w *parityWorld) SetJob(string, string)    {}
func (w *parityWorld) SetFolder(string, string) {}

func (w *parityWorld) SetRollout(string, *api.Rollout) {}

func (w *parityWorld) Change(ctx context.Context, _ string, call func() (string, error)) error {
	id, err := call()
	if err != nil {
		return err
	}
	read, err := w.client.InspectContainer(ctx, id)
	if err == nil {
		w.observed.Containers[id] = read
	}
	return err
}

func (w *parityWorld) RefreshNetwork(context.Context, string) error { return nil }
func (w *parityWorld) RefreshVolume(context.Context, string) error  { return nil }
func (w *parityWorld) SetFacts(string, func(*api.ContainerFacts))   {}
func (w *parityWorld) SetImage(string, *api.Image)                  {}

type noMemory struct{}

func (noMemory) SetAdoption(string, string, string) error { return nil }
func (noMemory) SetJob(string, string) error              { return nil }
func (noMemory) SetRollout(string, *api.Rollout) error    { return nil }
func (noMemory) SetPulled(string, time.Time) error        { return nil }
func (noMemory) MarkHooksPending(string) error            { return nil }
func (noMemory) ClearHooksPending(string) error           { return nil }

type noSecrets struct{}

func (noSecrets) Redact(text string) string                   { return text }
func (noSecrets) Open(string) (secrets.Value, bool)           { return secrets.Value{}, false }
func (noSecrets) OpenAs(string, string) (secrets.Value, bool) { return secrets.Value{}, false }
func (noSecrets) DigestOf(string, string) string              { return "" }
func (noSecrets) Restore(string, string)                      {}

// inPlace binds repository files where they lie, as docker compose does.
type inPlace struct{}

func (inPlace) Materialise(_ context.Context, root string, source api.RepoSource) (string, error) {
	return filepath.Join(root, source.Path), nil
}

type noChecker struct{}

func (noChecker) Check(context.Context, string, api.Probe) error { return nil }
