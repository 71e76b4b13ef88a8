package e2e_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

const jwtForRollback = "a-jwt-secret-of-a-rollback-0123456789"

// release is a backend of one release with a database beside it.
func releaseOf(image string) string {
	return `
services:
  db:
    image: ktrdr-demo:1
    command: ["http", "--port", "5432", "--name", "db"]
    restart: unless-stopped
    healthcheck: {disable: true}
  backend:
    image: ` + image + `
    command: ["sh", "-c", "echo release $KTRDRSIM_VERSION starts with $JWT_SECRET && exec uvicorn ktrdr.api.main:app"]
    restart: unless-stopped
    environment: {DB_HOST: db, JWT_SECRET: "${JWT_SECRET}"}
    depends_on: [db]
    healthcheck:
      test: ["CMD", "curl", "-fs", "http://localhost:8000/api/v1/health"]
      interval: 500ms
      retries: 3
      start_period: 8s # a good release on a busy machine takes its time
    deploy: {update_config: {monitor: 2s}}
`
}

// rolling prepares an agent whose backend runs release 1 and is known to be good.
func rolling(t *testing.T, image string) *agent {
	t.Helper()
	// $ is Compose's own: the container's shell is to expand these.
	compose := strings.NewReplacer("$KTRDRSIM_VERSION", "$$KTRDRSIM_VERSION", "with $JWT_SECRET", "with $$JWT_SECRET").Replace(releaseOf(image))
	a := newAgent(t, compose, "variables: {JWT_SECRET: op://e2e/core/jwt_secret}")
	secrets := filepath.Join(a.home, "secrets.env")
	writeFile(t, secrets, "JWT_SECRET="+jwtForRollback+"\n", 0o600)
	a.extra = []string{"secrets: {dotenv: {file: " + secrets + "}, refresh: 1s}"}
	a.start()
	a.converged()
	a.await("known to be good", time.Minute, func(st api.NodeStatus) bool { return rollout(st).Good != "" })
	return a
}

func (a *agent) release(image string) {
	path := "stacks/app/compose.yaml"
	text := readFile(a.t, filepath.Join(a.repo, path))
	i := strings.Index(text, "  backend:\n    image: ") + len("  backend:\n    image: ")
	end := strings.IndexByte(text[i:], '\n')
	a.write(path, text[:i]+image+text[i+end:])
}

// rollout is that of the stack app.
func rollout(st api.NodeStatus) api.RolloutStatus {
	for _, s := range st.Stacks {
		if s.Name == "app" && s.Rollout != nil {
			return *s.Rollout
		}
	}
	return api.RolloutStatus{}
}

// rolledBack waits until the last known good runs in the place of what failed.
func (a *agent) rolledBack() api.NodeStatus {
	a.t.Helper()
	return a.await("rolled back", 2*time.Minute, func(st api.NodeStatus) bool {
		for _, s := range st.Stacks {
			if s.Converged && rollout(st).Failed != nil {
				a.t.Error("a stack that was rolled back is converged")
			}
		}
		return len(conditions(st, api.ReasonRolledBack)) == 1
	})
}

// TestRollback is acceptance scenario 9: a new image that does not become healthy goes back
// to the digest before, is not reported as success, shows the last log lines without
// secrets, and is not tried again before the stack changes or somebody says so.
func TestRollback(t *testing.T) {
	a := rolling(t, "ktrdr-demo:1")
	before, db := a.on.must(t, a.name("backend")), a.on.snapshot(t, a.name("db"))

	began := time.Now()
	a.release("ktrdr-demo:broken")
	st := a.rolledBack()
	t.Logf("rolled back %s after the edit: %s", time.Since(began).Round(time.Millisecond), conditions(st, api.ReasonRolledBack)[0].Message)
	now := a.on.must(t, a.name("backend"))
	if svc := service(st, a.name("backend")); now.Image != before.Image || svc.Health != api.HealthHealthy || svc.Converged {
		t.Errorf("runs image %s, before %s: %+v", now.Image, before.Image, svc)
	}
	a.on.untouched(t, db)
	if got := a.on.names(t, a.project); len(got) != 2 {
		t.Errorf("containers: %v", got)
	}
	out := a.ctl(exitBlocked, "status")
	names(t, out, "RolledBack", "log: release broken starts with", "ktrdrctl resume")
	leak(t, "the status", out, []string{jwtForRollback})
	a.ctl(exitBlocked, "plan")
	a.ctl(exitBlocked, "sync", "--wait")

	quiet := a.on.must(t, a.name("backend"))
	a.write("stacks/app/notes.txt", "a revision that changes nothing of the stack\n")
	revision := st.Revision
	a.await("next revision accepted", time.Minute, func(st api.NodeStatus) bool { return st.Revision != revision })
	a.restart()
	a.rolledBack()
	during(t, "quarantined over revisions and restarts", 3*time.Second, func() bool { return a.on.must(t, a.name("backend")).same(quiet) })

	failed := rollout(a.status()).Failed
	a.ctl(0, "resume", "app")
	a.await("tried again, and failed again", 2*time.Minute, func(st api.NodeStatus) bool {
		now := rollout(st).Failed
		return now != nil && now.At.After(failed.At)
	})
	a.rolledBack()

	a.release("ktrdr-demo:2")
	a.converged()
	if now := a.on.must(t, a.name("backend")); now.Image == before.Image {
		t.Error("the next release was not deployed")
	}
	a.on.untouched(t, db)
	a.ctl(0, "status")
	leak(t, "the log", a.log.String(), []string{jwtForRollback})
	leak(t, "the memory", readFile(t, filepath.Join(a.state, "state.db")), []string{jwtForRollback})
}

// TestRollbackOfATag: the tag that ran stands for a broken image by now; what ran comes back
// by its id, with no registry.
func TestRollbackOfATag(t *testing.T) {
	repo := prefix + "-moving"
	move := func(from string) { machine().post(t, "/images/"+from+"/tag?repo="+repo+"&tag=latest", nil) }
	move("ktrdr-demo:1")
	t.Cleanup(func() { machine().quietly(http.MethodDelete, "/images/"+repo+":latest?noprune=1") })
	a := rolling(t, repo+":latest")
	before := a.on.must(t, a.name("backend"))
	move("ktrdr-demo:broken")
	a.rolledBack()
	if now := a.on.must(t, a.name("backend")); now.Image != before.Image || now.ID == before.ID {
		t.Errorf("runs image %s, before %s", now.Image, before.Image)
	}
	move("ktrdr-demo:2")
	a.converged()
	if now := a.on.must(t, a.name("backend")); now.Image == before.Image {
		t.Error("the mended image was not tried")
	}
}

// TestRollbackSurvivesTheAgent: the agent is killed as soon as a rollback begins; the next
// one ends it.
func TestRollbackSurvivesTheAgent(t *testing.T) {
	a := rolling(t, "ktrdr-demo:1")
	before := a.on.must(t, a.name("backend"))
	path := "stacks/app/compose.yaml"
	a.write(path, strings.Replace(readFile(t, filepath.Join(a.repo, path)), "exec uvicorn", "exec fail-now", 1))
	a.await("rollback begun", time.Minute, func(st api.NodeStatus) bool { return rollout(st).Failed != nil })
	a.kill()
	a.start()
	st := a.rolledBack()
	now := a.on.must(t, a.name("backend"))
	if now.Image != before.Image || !now.State.Running || len(a.on.names(t, a.project)) != 2 {
		t.Errorf("image %s, running %t, containers %v", now.Image, now.State.Running, a.on.names(t, a.project))
	}
	if f := rollout(st).Failed; f.Reason != api.ReasonCrashLoop || len(f.Log) == 0 {
		t.Errorf("the failure that was remembered: %+v", f)
	}
}
