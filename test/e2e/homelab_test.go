package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
	viewer   = "ktrdr-op-1.viewer-4b77"
	ghcr     = "ghp_notARealToken0123456789"
	homelabN = "lab"
)

const dotenv = "DB_USERNAME=" + dbUser + "\nDB_PASSWORD='" + dbPass + "'\nJWT_SECRET=" + jwt + "\nGRAFANA_PASSWORD=" + grafana + "\nGHCR_TOKEN=" + ghcr + "\nVIEWER_TOKEN=" + viewer + "\nAUTHORITY=authority-in-pem\n"

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
		"NODE_HOSTNAME=172.17.0.1", "BACKEND_HOST=172.17.0.1", "FLEET_VIEWER_TOKEN=" + viewer, "FLEET_AUTHORITY=authority-in-pem",
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
