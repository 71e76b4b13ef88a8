package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrdr.io/fleet/pkg/api"
)

// dotenvValue writes a value for the provider of the tests.
func dotenvValue(v string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "\n", `\n`).Replace(v) + `"`
}

const everyImage = `
services:
  full:
    image: e2e-delivery:shell
    command: ["http", "--port", "8080", "--name", "full"]
    restart: unless-stopped
    environment: {PLAIN: "${NASTY}", URL: "db://x:${NASTY}@db"}
    healthcheck:
      test: ["CMD-SHELL", "[ \"$$PLAIN\" = '${NASTY}' ]"]
      interval: 1s
    post_start: [{command: ["sh", "-c", "[ \"$$P\" = \"$$PLAIN\" ] && [ {{ op://e2e/core/nasty }} = \"$$P\" ]"], environment: {P: "${NASTY}"}}]
    secrets:
      - {source: x, uid: "999", gid: "1500", mode: 0440}
    configs: [{source: conf, target: /etc/app.conf}]
  strict:
    image: e2e-delivery:shell
    command: ["http", "--port", "8081", "--name", "strict"]
    restart: unless-stopped
    healthcheck: {disable: true}
    read_only: true
    user: "12345:12345"
    init: true
    tty: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    environment: {PLAIN: "${NASTY}"}
    secrets: [x]
  scratch:
    image: e2e-delivery:scratch
    restart: unless-stopped
    environment: {PLAIN: "${NASTY}"}
secrets:
  x: {external: true, name: "op://e2e/core/nasty"}
configs:
  conf: {content: "password = ${NASTY}\n"}
`

// TestDelivery is acceptance scenario 4: a nasty value arrives intact in environment,
// files, healthcheck and hook, in ordinary, read-only, non-root and empty images, and
// stands nowhere where the engine keeps or tells something.
func TestDelivery(t *testing.T) {
	a := deliveryAgent(t, everyImage)
	a.on.importImage(t, "e2e-delivery:shell", []string{"/bin/sh", "/bin/cat", "/usr/bin/cmp", "/bin/grep"}, "ENTRYPOINT [\"/ktrdrsim\"]")
	a.on.importImage(t, "e2e-delivery:scratch", nil, "CMD [\"/ktrdrsim\",\"http\",\"--port\",\"8082\"]")
	since := time.Now()
	a.start()
	a.converged()
	full := a.name("full")
	for _, name := range []string{full, a.name("strict")} {
		if got := a.on.environ(t, name)["PLAIN"]; got != nasty {
			t.Errorf("%s has %q", name, got)
		}
		if code, out := a.on.exec(t, name, "/.ktrdr/exec", "--", "sh", "-c", `printf %s "$PLAIN" | cmp - /run/secrets/x && echo same`); code != 0 || out != "same" {
			t.Errorf("%s: docker exec by ktrdr-exec: %d %q", name, code, out)
		}
		if !strings.Contains(a.on.argv(t, name), "http\x00--port") {
			t.Errorf("%s: PID 1 is not the program: %q", name, a.on.argv(t, name))
		}
	}
	if got := a.on.environ(t, a.name("scratch"))["PLAIN"]; got != nasty {
		t.Errorf("scratch has %q", got)
	}
	if got := a.on.environ(t, full)["URL"]; got != "db://x:"+nasty+"@db" {
		t.Errorf("URL is %q", got)
	}
	if got := a.on.stat(t, full, "/run/secrets/x"); got != "999:1500 440" {
		t.Errorf("owner and mode: %s", got)
	}
	eventually(t, "healthy by the engine's own word", time.Minute, func() bool { return a.on.must(t, full).State.Health.Status == "healthy" })
	a.leaks(t, since)
	before := a.on.snapshot(t, full, a.name("strict"), a.name("scratch"))
	a.restart()
	a.converged()
	a.on.untouched(t, before)
}

// deliveryAgent is an agent whose stack has the nasty value as ${NASTY}.
func deliveryAgent(t *testing.T, compose string) *agent {
	t.Helper()
	a := newAgent(t, compose, "variables: {NASTY: op://e2e/core/nasty}")
	file := filepath.Join(a.home, "secrets.env")
	writeFile(t, file, "NASTY="+dotenvValue(nasty)+"\n", 0o600)
	a.extra = []string{"secrets: {dotenv: {file: " + file + "}, refresh: 1s}"}
	return a
}

// withhold takes the values away, or gives them back.
func (a *agent) withhold(away bool) {
	a.t.Helper()
	from, to := filepath.Join(a.home, "secrets.env"), filepath.Join(a.home, "secrets.away")
	if !away {
		from, to = to, from
	}
	if err := os.Rename(from, to); err != nil {
		a.t.Fatal(err)
	}
}

// TestProviderAway is acceptance scenario 5, and the reboot of scenario 20 on this
// machine: an agent that starts without values leaves what runs running; the engine and
// the agent start it again from the memory that is still there; without that memory it
// says what it waits for, and recovers by itself.
func TestProviderAway(t *testing.T) {
	compose := `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment: {PLAIN: "${NASTY}"}
  plain:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "plain"]
    restart: unless-stopped
    healthcheck: {disable: true}
`
	a := deliveryAgent(t, compose)
	a.start()
	a.converged()
	web := a.name("web")
	before := a.on.must(t, web)
	a.stop()
	if entries, err := os.ReadDir(a.ram); err != nil || len(entries) != 1 {
		t.Fatalf("the folder went with the agent: %v %v", entries, err)
	}
	a.withhold(true)
	a.start()
	waits := func(st api.NodeStatus) bool {
		svc := service(st, web)
		return svc.Reason == api.ReasonSecretMissing && strings.Contains(svc.Message, "op://e2e/core/nasty")
	}
	a.await("stale secrets are told", time.Minute, func(st api.NodeStatus) bool { return waits(st) && len(conditions(st, api.ReasonSecretsStale)) > 0 })
	if !a.on.must(t, web).same(before) {
		t.Error("the container was touched")
	}
	if err := unix.Kill(before.State.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	again := func(what string) {
		t.Helper()
		eventually(t, what, time.Minute, func() bool {
			now := a.on.must(t, web)
			return now.State.Running && !now.same(before)
		})
		if got := a.on.environ(t, web)["PLAIN"]; got != nasty {
			t.Errorf("%s: it has %q", what, got)
		}
		before = a.on.must(t, web)
	}
	again("the engine starts it again")
	a.on.post(t, "/containers/"+web+"/stop?t=1", nil)
	again("the agent starts it again")

	a.kill()
	a.on.post(t, "/containers/"+web+"/stop?t=1", nil)
	a.unmount()
	a.start()
	a.await("says what it waits for", time.Minute, func(st api.NodeStatus) bool { return waits(st) && service(st, a.name("plain")).Converged })
	if a.on.running(t, web) {
		t.Error("it runs without its secret")
	}
	a.withhold(false)
	a.converged()
	again("started once its folder is there")
	if a.on.must(t, web).ID != before.ID {
		t.Error("the container was replaced")
	}
	a.on.remove(t, a.name("plain")) // something that is not about secrets
	a.compose("services: {plain: {image: \"ktrdr-demo:1\", command: [\"http\", \"--port\", \"8081\", \"--name\", \"plain\"], healthcheck: {disable: true}}}")
	eventually(t, "the folder goes with its container", time.Minute, func() bool {
		entries, err := os.ReadDir(a.ram)
		return err == nil && len(entries) == 0
	})
}
