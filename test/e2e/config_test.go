package e2e_test

import (
	"testing"
	"time"
)

// TestConfigContent: a config with content of its own is in the container, and its
// container is replaced when the content changes.
func TestConfigContent(t *testing.T) {
	compose := func(text string) string {
		return `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    healthcheck: {disable: true}
    configs:
      - {source: inline, target: /etc/inline.conf, mode: 0440, uid: "999", gid: "1500"}
      - {source: file, target: /etc/file.conf}
configs:
  inline: {content: "` + text + `"}
  file: {file: ./app.conf}
`
	}
	a := newAgent(t, compose("one"), "")
	a.write("stacks/app/app.conf", "file one\n")
	a.start()
	a.converged()
	has := func(path, want string) {
		t.Helper()
		if code, got := a.on.exec(t, a.name("web"), "cat", path); code != 0 || got != want {
			t.Errorf("%s: %d %q, wanted %q", path, code, got, want)
		}
	}
	has("/etc/inline.conf", "one")
	has("/etc/file.conf", "file one")
	// The image has a user that only it knows by name; files belong to whom the Compose file says.
	if got := a.on.owner(t, a.name("web"), "/etc/inline.conf"); got != "999:1500 0440" {
		t.Errorf("owner and mode: %s", got)
	}
	first := a.on.must(t, a.name("web"))
	a.change(func() { a.compose(compose("two")) })
	has("/etc/inline.conf", "two")
	second := a.on.must(t, a.name("web"))
	a.change(func() { a.write("stacks/app/app.conf", "file two\n") })
	has("/etc/file.conf", "file two")
	has("/etc/inline.conf", "two")
	third := a.on.must(t, a.name("web"))
	if first.ID == second.ID || second.ID == third.ID {
		t.Error("a changed config did not replace the container")
	}
	a.restart()
	a.converged()
	if !a.on.must(t, a.name("web")).same(third) {
		t.Error("a restart of the agent touched the container")
	}
}

// TestSubSecondGrace: stop_grace_period below a second is rounded up, not down to "kill".
func TestSubSecondGrace(t *testing.T) {
	compose := `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    stop_grace_period: 400ms
    healthcheck: {disable: true}
`
	a := newAgent(t, compose, "")
	a.start()
	a.converged()
	// Before its program listens for signals, nothing but a kill would end it.
	a.answers("web", "8080")
	events := a.on.hear(t, a.project)
	a.change(func() { a.compose(edited(compose, "1")) })
	eventually(t, "end of the old container", time.Minute, func() bool { return len(events.ends()) > 0 })
	ended := events.ends()[0]
	var asked int64
	for _, e := range events.all() {
		if e.Action == "kill" && asked == 0 {
			asked = e.TimeNano
		}
	}
	// A program that does not get to its end within the second is killed then, and not before.
	had := time.Duration(ended.TimeNano - asked)
	if asked == 0 || ended.exitCode() != "0" && had < time.Second {
		t.Errorf("exit code %s %s after it was asked to end: it was killed before it could", ended.exitCode(), had)
	}
}

// TestStartFirst: with order start-first the new container runs before the old one stops.
func TestStartFirst(t *testing.T) {
	compose := `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    deploy: {update_config: {order: start-first}}
    healthcheck:
      test: ["CMD", "curl", "-fs", "http://localhost:8080/"]
      interval: 1s
      start_period: 1m # as long as its start may take
`
	a := newAgent(t, compose, "")
	a.start()
	a.converged()
	old := a.on.must(t, a.name("web"))
	down := false
	a.compose(edited(compose, "1"))
	eventually(t, "replaced", time.Minute, func() bool {
		down = down || a.on.countRunning(t, a.project) == 0
		c := a.on.container(t, a.name("web"))
		return c != nil && c.ID != old.ID && c.State.Running
	})
	a.converged()
	if down {
		t.Error("for a moment nothing ran")
	}
	if got := a.on.names(t, a.project); len(got) != 1 {
		t.Errorf("containers: %v", got)
	}
}
