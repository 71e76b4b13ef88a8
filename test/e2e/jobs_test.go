package e2e_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

const chain = `
services:
  app:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "app"]
    restart: unless-stopped
    healthcheck: {disable: true}
    depends_on:
      migrate: {condition: service_completed_successfully}
  migrate:
    image: ktrdr-demo:1
    command: ["sh", "-c", "cat /log/runs && echo ran"]
    healthcheck: {disable: true}
    restart: "no"
    volumes: [runs:/log]
    depends_on:
      prepare: {condition: service_completed_successfully}
  prepare:
    image: ktrdr-demo:1
    command: ["sh", "-c", "echo ready"]
    healthcheck: {disable: true}
    restart: "no"
volumes:
  runs:
`

// TestJobsRunOnce: a chain of jobs runs once, whatever happens to agent and containers,
// and again when its definition changes.
func TestJobsRunOnce(t *testing.T) {
	compose := strings.Replace(chain, `"cat /log/runs && echo ran"`, `"echo ran"`, 1)
	a := newAgent(t, compose, "")
	a.start()
	a.converged()
	app, first, prepare := a.on.must(t, a.name("app")), a.on.must(t, a.name("migrate")), a.on.must(t, a.name("prepare"))
	if first.State.ExitCode != 0 || first.State.FinishedAt > app.State.StartedAt || prepare.State.FinishedAt > first.State.StartedAt {
		t.Errorf("order: prepare ended %s, migrate ran %s to %s, app started %s",
			prepare.State.FinishedAt, first.State.StartedAt, first.State.FinishedAt, app.State.StartedAt)
	}
	again := func() bool {
		now := a.on.container(t, a.name("migrate"))
		return now != nil && !now.same(first)
	}
	a.restart()
	a.converged()
	during(t, "job left alone after a restart of the agent", 2*time.Second, func() bool { return !again() })

	a.on.post(t, "/containers/prune?filters="+`%7B%22label%22%3A%5B%22com.docker.compose.project%3D`+a.project+`%22%5D%7D`, nil)
	if a.on.container(t, a.name("migrate")) != nil {
		t.Fatal("the prune did not remove the ended job")
	}
	during(t, "job not run again after a prune", 2*time.Second, func() bool { return a.on.container(t, a.name("migrate")) == nil })
	a.restart()
	a.converged()
	during(t, "job not run again after prune and restart", 2*time.Second, func() bool { return a.on.container(t, a.name("migrate")) == nil })
	if !a.on.must(t, a.name("app")).same(app) {
		t.Error("the service behind the job was touched")
	}

	a.change(func() { a.compose(strings.Replace(compose, `"echo ran"`, `"echo ran again"`, 1)) })
	if now := a.on.must(t, a.name("migrate")); now.ID == first.ID || now.State.ExitCode != 0 || !strings.Contains(a.on.logs(t, a.name("migrate")), "ran again") {
		t.Errorf("the changed job did not run: %+v", now.State)
	}
}

// TestJobFails: what waits for a failing job does not start, and the status names the job.
func TestJobFails(t *testing.T) {
	a := newAgent(t, strings.Replace(chain, `"cat /log/runs && echo ran"`, `"exit 4"`, 1), "")
	a.start()
	st := a.await("job failed", time.Minute, func(st api.NodeStatus) bool {
		return service(st, a.name("app")).Reason == api.ReasonDependencyFailed && service(st, a.name("migrate")).Reason == api.ReasonJobFailed
	})
	if c := a.on.container(t, a.name("app")); c != nil && c.State.Running {
		t.Error("the service runs although its job failed")
	}
	if svc := service(st, a.name("app")); !strings.Contains(svc.Message, "migrate") || !strings.Contains(svc.Message, "4") {
		t.Errorf("message: %q", svc.Message)
	}
	a.change(func() { a.compose(strings.Replace(chain, `"cat /log/runs && echo ran"`, `"echo mended"`, 1)) })
	if !a.on.running(t, a.name("app")) {
		t.Error("the service does not run after its job was mended")
	}
}

// TestJobStoppedByHand: a job that somebody stopped did not end by itself, even when its
// exit code is 0: it runs again.
func TestJobStoppedByHand(t *testing.T) {
	a := newAgent(t, `
services:
  app:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "app"]
    healthcheck: {disable: true}
    depends_on:
      job: {condition: service_completed_successfully}
  job:
    image: ktrdr-demo:1
    # Ends with 0 on SIGTERM.
    command: ["http", "--port", "8081", "--name", "job"]
    healthcheck: {disable: true}
    restart: "no"
`, "")
	a.start()
	eventually(t, "job running", time.Minute, func() bool { return a.on.running(t, a.name("job")) })
	a.answers("job", "8081")
	first := a.on.must(t, a.name("job"))
	a.on.post(t, "/containers/"+a.name("job")+"/stop?t=5", nil)
	eventually(t, "job running again", time.Minute, func() bool {
		c := a.on.must(t, a.name("job"))
		return c.State.Running && c.State.StartedAt != first.State.StartedAt
	})
	if c := a.on.container(t, a.name("app")); c != nil && c.State.Running {
		t.Error("the service started behind a job that was interrupted")
	}
}

// TestJobEndsUnseen: whether a job ended by itself or was stopped is known also when the
// agent was not there to see. The engine is the test's own: it remembers no more than 256
// events, and other tests make some.
func TestJobEndsUnseen(t *testing.T) {
	t.Parallel()
	n, engine := newNode(t)
	a := bareAgent(t, engine, n)
	a.node("stacks: [{name: app}]")
	a.stack("")
	a.compose(`
services:
  # Both end with 0 on SIGTERM.
  stopped:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "stopped"]
    healthcheck: {disable: true}
  after-stopped:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "after"]
    healthcheck: {disable: true}
    depends_on:
      stopped: {condition: service_completed_successfully}
  ended:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "ended"]
    healthcheck: {disable: true}
  after-ended:
    image: ktrdr-demo:1
    command: ["http", "--port", "8082", "--name", "after"]
    healthcheck: {disable: true}
    depends_on:
      ended: {condition: service_completed_successfully}
`)
	a.start()
	eventually(t, "both jobs run", time.Minute, func() bool { return a.on.running(t, a.name("stopped")) && a.on.running(t, a.name("ended")) })
	a.answers("stopped", "8080")
	a.answers("ended", "8080")
	first := a.on.snapshot(t, a.name("stopped"), a.name("ended"))
	a.stop()
	// By a signal that the engine does not send, so that for it the process has ended by itself.
	if err := syscall.Kill(first[a.name("ended")].State.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one job has ended", time.Minute, func() bool { return !a.on.running(t, a.name("ended")) })
	a.on.post(t, "/containers/"+a.name("stopped")+"/stop?t=60", nil)
	for _, name := range []string{a.name("stopped"), a.name("ended")} {
		if c := a.on.must(t, name); c.State.ExitCode != 0 {
			t.Fatalf("%s has exit code %d: nothing is proved", name, c.State.ExitCode)
		}
	}
	a.start()
	eventually(t, "what waits for the job that ended runs", time.Minute, func() bool {
		c := a.on.container(t, a.name("after-ended"))
		return c != nil && c.State.Running
	})
	eventually(t, "the stopped job runs again", time.Minute, func() bool { return a.on.running(t, a.name("stopped")) })
	if !a.on.must(t, a.name("ended")).same(first[a.name("ended")]) {
		t.Error("the job that ended by itself was run again")
	}
	if c := a.on.container(t, a.name("after-stopped")); c != nil && c.State.Running {
		t.Error("a service started behind a job that was stopped")
	}
}
