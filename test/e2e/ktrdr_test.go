package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/lab"
	"ktrdr.io/fleet/test/parity"
)

// homelab is a node that runs the user's core stack and workers, made by docker compose.
type homelab struct {
	*agent
	lab *lab.Node
	// core and workers are the folders in which docker compose was run.
	core, workers string
}

// Values of the user's secrets; they must turn up nowhere.
const (
	dbUser   = "ktrdr-user-7f3a"
	dbPass   = `pa$$w0rd-"quoted"\back`
	jwt      = "a-jwt-secret-that-has-more-than-32-characters"
	grafana  = "grafana-pass-91c2"
	ghcr     = "ghp_notARealToken0123456789"
	homelabN = "lab"
)

const dotenv = "DB_USERNAME=" + dbUser + "\nDB_PASSWORD='" + dbPass + "'\nJWT_SECRET=" + jwt + "\nGRAFANA_PASSWORD=" + grafana + "\nGHCR_TOKEN=" + ghcr + "\n"

var (
	coreNames   = []string{"ktrdr-db", "ktrdr-backend", "ktrdr-prometheus", "ktrdr-grafana", "ktrdr-jaeger", "ktrdr-mcp"} //nolint:gochecknoglobals // constants
	workerNames = []string{"backtest-worker-1", "training-worker-1"}                                                      //nolint:gochecknoglobals // constants
)

// newHomelab makes a node with the share mounted and an agent that has the repository.
func newHomelab(t *testing.T) *homelab {
	t.Helper()
	t.Parallel()
	n, engine := newNode(t)
	on(t, n, "mount", "-t", "tmpfs", "tmpfs", "/mnt")
	mountShare(t, n)
	h := &homelab{agent: bareAgent(t, engine, n), lab: n}
	h.project = homelabN
	h.core, h.workers = filepath.Join(h.home, "compose-core"), filepath.Join(h.home, "compose-workers")
	h.secrets(dotenv)
	h.extra = []string{"secrets: {dotenv: {file: " + h.home + "/secrets.env}, refresh: 1s}"}
	return h
}

func (h *homelab) secrets(text string) {
	writeFile(h.t, filepath.Join(h.home, "secrets.env"), text, 0o600)
}

// sample puts the sample repository in place, its node changed to this one, and its
// Compose files where docker compose is run.
func (h *homelab) sample() {
	h.t.Helper()
	_ = os.RemoveAll(h.repo)
	copyTree(h.t, filepath.Join(module(h.t), "desired-state"), h.repo)
	for _, other := range []string{"a", "b", "c", "gpu"} {
		_ = os.Remove(filepath.Join(h.repo, "nodes", other+".yaml"))
	}
	h.edit("fleet.yaml", "backend.ktrdr.home.mynerd.place", "172.17.0.1")
	h.node(h.nodeSpec())
	copyTree(h.t, filepath.Join(h.repo, "stacks/core"), h.core)
	copyTree(h.t, filepath.Join(h.repo, "stacks/workers"), h.workers)
}

func (h *homelab) nodeSpec() string {
	return `
hostname: 172.17.0.1
stacks:
  - {name: core, adoptFrom: [` + h.core + `]}
  - {name: workers, adoptFrom: [` + h.workers + `]}
mounts:
  - {path: ` + share + `, type: tmpfs, writable: true, gid: 1500}`
}

// edit replaces text in a file of the repository.
func (h *homelab) edit(name, old, replacement string) {
	h.t.Helper()
	text := readFile(h.t, filepath.Join(h.repo, name))
	if !strings.Contains(text, old) {
		h.t.Fatalf("%s has no %q", name, old)
	}
	h.write(name, strings.ReplaceAll(text, old, replacement))
}

// env is what the user has in .env beside the Compose files.
func (h *homelab) env() string {
	quote := func(s string) string { return "'" + s + "'" }
	return strings.Join([]string{
		"IMAGE_TAG=sha-de00001", "KTRDR_DB_NAME=ktrdr", "KTRDR_DB_USER=" + dbUser, "DB_USER=" + dbUser, "KTRDR_DB_PASSWORD=" + quote(dbPass),
		"DB_PASSWORD=" + quote(dbPass), "KTRDR_AUTH_JWT_SECRET=" + jwt, "GF_ADMIN_PASSWORD=" + grafana, "NODE_NAME=" + homelabN,
		"NODE_HOSTNAME=172.17.0.1", "BACKEND_HOST=172.17.0.1",
	}, "\n") + "\n"
}

// up runs docker compose in a folder on the node's engine.
func (h *homelab) up(folder, project string, files ...string) {
	h.t.Helper()
	t, ok := h.t.(*testing.T)
	if !ok {
		h.t.Fatal("docker compose is run by tests only")
	}
	compose := parity.Compose(t, module(t))
	writeFile(t, filepath.Join(folder, ".env"), h.env(), 0o600)
	args := []string{"-p", project}
	for _, f := range files {
		args = append(args, "-f", f)
	}
	out, err := parity.Run(t, compose, "unix://"+h.on.socket, folder, append(args, "up", "-d", "--pull", "never")...)
	if err != nil {
		t.Fatalf("docker compose up: %v\n%s", err, out)
	}
}

// strangers makes what must never be touched: a container of the same project from another
// folder, one without labels, a network and a volume.
func (h *homelab) strangers() map[string]*inspected {
	h.t.Helper()
	folder := filepath.Join(h.home, "compose-stranger")
	writeFile(h.t, filepath.Join(folder, "compose.yaml"), `
services:
  stranger:
    image: ktrdr-demo:1
    container_name: stranger
    network_mode: bridge
    command: ["sleep", "infinity"]
`, 0o644)
	h.up(folder, "ktrdr-core", "compose.yaml")
	h.on.post(h.t, "/networks/create", map[string]any{"Name": "their-network"})
	h.on.post(h.t, "/volumes/create", map[string]any{"Name": "their-volume"})
	h.on.post(h.t, "/containers/create?name=loner", map[string]any{"Image": "ktrdr-demo:1", "Cmd": []string{"sleep", "infinity"}})
	h.on.post(h.t, "/containers/loner/start", nil)
	return h.on.snapshot(h.t, "stranger", "loner")
}

// dataID is the identity of the database's data.
func (h *homelab) dataID() string {
	h.t.Helper()
	code, out := h.on.exec(h.t, "ktrdr-db", "cat", "/home/postgres/pgdata/data/ktrdrsim.json")
	if code != 0 {
		h.t.Fatalf("read the database's data: %d %s", code, out)
	}
	return out
}

// volumes lists names and creation times of all volumes, sorted.
func (h *homelab) volumes() string {
	h.t.Helper()
	var list struct {
		Volumes []struct{ Name, CreatedAt string }
	}
	h.on.do(h.t, http.MethodGet, "/volumes", nil, &list)
	var out []string
	for _, v := range list.Volumes {
		out = append(out, v.Name+" "+v.CreatedAt)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// noSecrets fails the test when a secret value is in the agent's log, status or events.
func (h *homelab) noSecrets(values ...string) {
	h.t.Helper()
	for _, path := range []string{"/v1/status", "/v1/events", "/v1/plan", "/metrics"} {
		_, body, err := h.ask(http.MethodGet, path)
		if err != nil {
			h.t.Fatal(err)
		}
		leak(h.t, path, string(body), values)
	}
	leak(h.t, "the log", h.log.String(), values)
	_ = filepath.WalkDir(h.state, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			leak(h.t, path, readFile(h.t, path), values)
		}
		return nil
	})
}

func leak(t testing.TB, where, text string, values []string) {
	t.Helper()
	for _, v := range values {
		if v != "" && strings.Contains(text, v) {
			t.Errorf("%s has the value of a secret", where)
		}
	}
}

// TestHomelab runs the user's own system in the order in which he would meet it:
// acceptance scenarios 1, 2, 8 and 15.
func TestHomelab(t *testing.T) {
	h := newHomelab(t)
	h.sample()
	h.up(h.core, "ktrdr-core", "compose.yaml")
	h.up(h.workers, "ktrdr-workers-lab", "compose.yaml")
	theirs := h.strangers()
	h.adopts(theirs)
	h.rollsOnlyWhatChanged()
	h.deploysBackend()
	h.blocksDatabase()
	h.survivesBackend()
	h.on.untouched(t, theirs)
	h.noSecrets(dbPass, jwt, grafana, ghcr)
}

// adopts is scenario 1.
func (h *homelab) adopts(theirs map[string]*inspected) {
	t := h.t
	t.Helper()
	before := h.on.snapshot(t, append(append([]string(nil), coreNames...), workerNames...)...)
	volumes, data := h.volumes(), h.dataID()
	began := time.Now()
	h.start()
	h.converged()
	t.Logf("adoption of %d containers: %s", len(before), time.Since(began).Round(time.Millisecond))
	h.on.untouched(t, before)
	h.on.untouched(t, theirs)
	if got := h.volumes(); got != volumes {
		t.Errorf("volumes changed:\n%s\nbefore:\n%s", got, volumes)
	}
	if got := h.dataID(); got != data {
		t.Errorf("data of the database: %s, before %s", got, data)
	}
	h.restart()
	h.converged()
	h.on.untouched(t, before)
	if strings.Contains(h.log.String(), "op=create-container") || strings.Contains(h.log.String(), "op=remove-container") {
		t.Error("the agent created or removed a container")
	}
}

// rollsOnlyWhatChanged edits one service of an adopted stack.
func (h *homelab) rollsOnlyWhatChanged() {
	t := h.t
	t.Helper()
	kept := h.on.snapshot(t, "ktrdr-db", "ktrdr-backend", "ktrdr-prometheus", "ktrdr-jaeger", "ktrdr-mcp", "backtest-worker-1", "training-worker-1")
	old := h.on.must(t, "ktrdr-grafana")
	h.change(func() {
		h.edit("stacks/core/compose.yaml", "GF_AUTH_ANONYMOUS_ORG_ROLE: Admin", "GF_AUTH_ANONYMOUS_ORG_ROLE: Viewer")
	})
	h.on.untouched(t, kept)
	now := h.on.must(t, "ktrdr-grafana")
	if now.ID == old.ID || !slices.Contains(now.Config.Env, "GF_AUTH_ANONYMOUS_ORG_ROLE=Viewer") {
		t.Error("grafana was not replaced")
	}
	if got, want := now.volume("/var/lib/grafana"), old.volume("/var/lib/grafana"); got != want {
		t.Errorf("grafana has volume %q, before %q", got, want)
	}
}

// deploysBackend is scenario 8.
func (h *homelab) deploysBackend() {
	t := h.t
	t.Helper()
	kept := h.on.snapshot(t, "ktrdr-db", "ktrdr-grafana", "ktrdr-prometheus", "ktrdr-jaeger", "backtest-worker-1", "training-worker-1")
	old := h.on.must(t, "ktrdr-backend")
	began := time.Now()
	st := h.change(func() { h.edit("stacks/core/stack.yaml", "IMAGE_TAG: sha-de00001", "IMAGE_TAG: sha-de00002") })
	t.Logf("deploy of a new backend: %s", time.Since(began).Round(time.Millisecond))
	h.on.untouched(t, kept)
	now := h.on.must(t, "ktrdr-backend")
	if now.ID == old.ID || now.Image == old.Image || !slices.Contains(now.Config.Env, "KTRDRSIM_VERSION=2") {
		t.Error("the backend was not replaced by the new release")
	}
	if svc := service(st, "ktrdr-backend"); svc.Health != api.HealthHealthy || svc.Actual != svc.Wanted {
		t.Errorf("converged without health or digest: %+v", svc)
	}
}

// blocksDatabase is scenario 2: the database's data is under no mount.
func (h *homelab) blocksDatabase() {
	t := h.t
	t.Helper()
	kept := h.on.snapshot(t, "ktrdr-db", "ktrdr-prometheus", "ktrdr-jaeger")
	data, backend := h.dataID(), h.on.must(t, "ktrdr-backend")
	path := "stacks/core/compose.yaml"
	before := readFile(t, filepath.Join(h.repo, path))
	after := strings.Replace(before, "      POSTGRES_DB: ${KTRDR_DB_NAME}\n", "      POSTGRES_DB: ${KTRDR_DB_NAME}\n      POSTGRES_INITDB_ARGS: --data-checksums\n", 1)
	after = strings.Replace(after, "KTRDR_LOG_LEVEL: INFO\n      KTRDR_OTEL_OTLP_ENDPOINT: http://jaeger:4317\n      KTRDR_DATA_DIR", "KTRDR_LOG_LEVEL: DEBUG\n      KTRDR_OTEL_OTLP_ENDPOINT: http://jaeger:4317\n      KTRDR_DATA_DIR", 1)
	if strings.Count(after, "DEBUG") != 1 || !strings.Contains(after, "INITDB") {
		t.Fatal("the sample has changed: this test can't edit it")
	}
	h.write(path, after)
	st := h.await("blocked, the rest converged", 2*time.Minute, func(st api.NodeStatus) bool {
		c := conditions(st, api.ReasonDataUnprotected)
		backendDone := service(st, "ktrdr-backend")
		return len(c) == 1 && c[0].Type == api.ConditionBlocked && backendDone.Converged && backendDone.ID != backend.ID
	})
	c := conditions(st, api.ReasonDataUnprotected)[0]
	if c.Object != "ktrdr-db" || !strings.Contains(c.Message, "/home/postgres/pgdata/data") || !strings.Contains(c.Message, "volume") {
		t.Errorf("the condition does not tell the fix: %+v", c)
	}
	for _, s := range st.Stacks {
		for _, svc := range s.Services {
			if svc.Service != "db" && !svc.Converged {
				t.Errorf("%s is held up: %s %s", svc.Container, svc.Reason, svc.Message)
			}
		}
	}
	h.on.untouched(t, kept)
	if got := h.dataID(); got != data {
		t.Errorf("data of the database: %s, before %s", got, data)
	}
	if code := h.ctl(exitBlocked, "status"); !strings.Contains(code, "DataWouldBeLost") {
		t.Errorf("ktrdrctl status does not say why:\n%s", code)
	}
	h.change(func() { h.write(path, strings.Replace(after, "      POSTGRES_INITDB_ARGS: --data-checksums\n", "", 1)) })
	h.on.untouched(t, kept)
}

// exitBlocked is ktrdrctl's exit code when a person has to act.
const exitBlocked = 3

// survivesBackend is scenario 15: workers and mcp inherit a healthcheck that fails for them.
func (h *homelab) survivesBackend() {
	t := h.t
	t.Helper()
	before := h.on.snapshot(t, "backtest-worker-1", "training-worker-1", "ktrdr-mcp", "ktrdr-db")
	old := h.on.must(t, "ktrdr-backend")
	h.on.post(t, "/containers/ktrdr-backend/kill", nil)
	restarts := 0
	_ = poll(t.Context(), 30*time.Second, func() bool {
		for name, was := range before {
			if c := h.on.container(t, name); c == nil || !c.same(was) {
				restarts++
			}
		}
		return restarts > 0
	})
	t.Logf("restarts of workers, mcp and database within 30 s of the backend's death: %d", restarts)
	if restarts > 0 {
		t.Error("a restart storm after the backend's death")
	}
	h.converged()
	if now := h.on.must(t, "ktrdr-backend"); !now.State.Running || now.State.StartedAt == old.State.StartedAt {
		t.Error("the backend was not started again")
	}
}

// TestAdoptsUserFiles is scenario 1 with the user's files as they are.
func TestAdoptsUserFiles(t *testing.T) {
	dir := os.Getenv("KTRDR_SHARED")
	if dir == "" {
		dir = filepath.Join(module(t), "../shared")
	}
	dir = filepath.Join(dir, "compose/ktrdr")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("SKIPPED: no files of the user at %s; set KTRDR_SHARED", dir)
	}
	h := newHomelab(t)
	const header = "apiVersion: ktrdr.io/v1alpha1\n"
	const vault = "op://KTRDR Homelab Secrets/ktrdr-homelab-core/"
	h.node(h.nodeSpec())
	h.write("stacks/core/stack.yaml", header+"kind: Stack\nmetadata: {name: core}\nspec:\n  project: ktrdr-core\n  compose: [docker-compose.core.yml]\n"+
		"  variables: {IMAGE_TAG: sha-de00001, KTRDR_DB_NAME: ktrdr, KTRDR_DB_USER: '"+vault+"db_username', KTRDR_DB_PASSWORD: '"+vault+"db_password', "+
		"KTRDR_AUTH_JWT_SECRET: '"+vault+"jwt_secret', GF_ADMIN_PASSWORD: '"+vault+"grafana_password'}\n")
	h.write("stacks/workers/stack.yaml", header+"kind: Stack\nmetadata: {name: workers}\nspec:\n  project: ktrdr-workers-b\n  compose: [docker-compose.workers.yml]\n"+
		"  variables: {IMAGE_TAG: sha-de00001, DB_USER: '"+vault+"db_username', DB_PASSWORD: '"+vault+"db_password'}\n")
	h.write("stacks/core/docker-compose.core.yml", readFile(t, filepath.Join(dir, "docker-compose.core.yml")))
	h.write("stacks/workers/docker-compose.workers.yml", readFile(t, filepath.Join(dir, "docker-compose.workers.yml")))
	copyTree(t, filepath.Join(module(t), "desired-state/stacks/core/monitoring"), filepath.Join(h.repo, "stacks/core/monitoring"))
	h.write("stacks/core/monitoring/prometheus.yml", readFile(t, filepath.Join(dir, "prometheus.yml")))
	copyTree(t, filepath.Join(h.repo, "stacks/core"), h.core)
	copyTree(t, filepath.Join(h.repo, "stacks/workers"), h.workers)
	h.up(h.core, "ktrdr-core", "docker-compose.core.yml")
	h.up(h.workers, "ktrdr-workers-b", "docker-compose.workers.yml")
	before := h.on.snapshot(t, append(append([]string(nil), coreNames...), workerNames...)...)
	volumes := h.volumes()
	h.start()
	// Without a word of their own, mcp and workers inherit a healthcheck that fails: that is
	// told, and nothing is done about it.
	h.await("taken over", 2*time.Minute, func(st api.NodeStatus) bool {
		for _, name := range coreNames[:5] {
			if !service(st, name).Converged {
				return false
			}
		}
		return service(st, "backtest-worker-1").ID != ""
	})
	during(t, "left alone", 5*time.Second, func() bool { return !t.Failed() })
	h.on.untouched(t, before)
	if got := h.volumes(); got != volumes {
		t.Errorf("volumes changed:\n%s\nbefore:\n%s", got, volumes)
	}
	h.noSecrets(dbPass, jwt, grafana)
}
