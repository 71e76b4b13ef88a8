package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

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
