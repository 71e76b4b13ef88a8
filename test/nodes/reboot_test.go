package nodes_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/lab"
)

// beforeReboot has what a reboot could spoil: an order that the engine does not know, a job
// that has ended, one that is under way and ends with 0 when it is stopped, something that
// waits for it, and a bind of a folder that a reboot empties.
const beforeReboot = `
services:
  db:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "db"]
    restart: "no"
    healthcheck: {test: ["CMD", "curl", "-f", "http://localhost:8080/"], interval: 1s}
  api:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "api"]
    restart: "no"
    healthcheck: {disable: true}
    depends_on:
      db: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8082", "--name", "web"]
    restart: unless-stopped
    healthcheck: {disable: true}
    depends_on: [api]
  migrate:
    image: ktrdr-demo:1
    command: ["sh", "-c", "echo migrated"]
    restart: "no"
    healthcheck: {disable: true}
  long:
    image: ktrdr-demo:1
    command: ["http", "--port", "8083", "--name", "long"]
    restart: "no"
    healthcheck: {disable: true}
  after:
    image: ktrdr-demo:1
    command: ["http", "--port", "8084", "--name", "after"]
    restart: unless-stopped
    healthcheck: {disable: true}
    depends_on:
      long: {condition: service_completed_successfully}
  secretive:
    image: ktrdr-demo:1
    command: ["http", "--port", "8086", "--name", "secretive"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment: {API_TOKEN: op://nodes/app/token}
  bound:
    image: ktrdr-demo:1
    command: ["http", "--port", "8085", "--name", "bound"]
    restart: unless-stopped
    healthcheck: {disable: true}
    volumes:
      - {type: bind, source: /run/volatile, target: /data, bind: {create_host_path: false}}
`

// TestReboot is acceptance scenario 20 on whole machines: power losses and reboots with
// git out of reach. What ran runs again, in order, nothing twice.
func TestReboot(t *testing.T) {
	n := newNode(t, lab.MachineOptions{})
	n.spec("stacks: [{name: app}]")
	commit := n.push(beforeReboot)
	n.run("mkdir", "/run/volatile")
	n.configure(n.serveHTTPS())
	r := rebooted{node: n, commit: commit}
	r.settled()
	for _, reboot := range []struct {
		name string
		do   func() error
	}{
		{"power loss", func() error {
			if err := n.PowerLoss(t.Context()); err != nil {
				return err
			}
			return n.PowerOn(t.Context())
		}},
		{"reboot", func() error {
			pid := n.PID()
			_, _ = n.try("systemctl", "reboot") // which may end before it has said that it began
			return n.AwaitBoot(t.Context(), pid)
		}},
	} {
		r.what, r.before = reboot.name, n.containers()
		if err := n.Cut(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.booted = time.Now()
		if err := reboot.do(); err != nil {
			t.Fatal(err)
		}
		r.check()
		if err := n.Mend(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.settled()
	}
}

type rebooted struct {
	*node
	what, commit string
	booted       time.Time
	before       map[string]container
}

// settled waits until all is as wanted but for what waits for the job under way.
func (r rebooted) settled() {
	r.t.Helper()
	r.await("all runs but what waits for the job, and nothing is amiss", func(st api.NodeStatus) bool {
		for _, name := range []string{"db", "api", "web", "migrate", "secretive", "bound"} {
			if !service(st, name).Converged {
				return false
			}
		}
		return st.Revision == r.commit && len(st.Conditions) == 0 && r.containers()["long"].State.Running
	})
}

func (r rebooted) check() {
	r.t.Helper()
	st := r.await("what ran runs again, but for what binds a folder that is gone", func(st api.NodeStatus) bool {
		return service(st, "db").Converged && service(st, "api").Converged && service(st, "web").Converged &&
			service(st, "migrate").Converged && service(st, "secretive").Converged && r.containers()["long"].State.Running &&
			strings.Contains(service(st, "bound").Message, "/run/volatile") && len(st.Conditions) > 0
	})
	r.t.Logf("%s: runs again %s after it began, without git", r.what, time.Since(r.booted).Round(time.Millisecond))
	if service(st, "bound").Converged {
		r.t.Errorf("%s: a container runs on a folder that is gone", r.what)
	}
	now := r.containers()
	if want, got := slices.Sorted(maps.Keys(r.before)), slices.Sorted(maps.Keys(now)); !slices.Equal(want, got) {
		r.t.Errorf("%s: containers %v, before %v", r.what, got, want)
	}
	for name, was := range r.before {
		if now[name].ID != was.ID {
			r.t.Errorf("%s: %s was replaced", r.what, name)
		}
	}
	if was, is := r.before["migrate"].State.StartedAt, now["migrate"].State.StartedAt; !was.Equal(is) {
		r.t.Errorf("%s: a job that had ended was run again", r.what)
	}
	if c, found := now["after"]; found && c.State.Running {
		r.t.Errorf("%s: a job that the reboot ended counts as completed", r.what)
	}
	if db, api := now["db"].State.StartedAt, now["api"].State.StartedAt; api.Before(db) || db.Before(r.booted) {
		r.t.Errorf("%s: db was started %s, api, which depends on it, %s", r.what, db, api)
	}
	r.hasSecret()
	r.run("mkdir", "/run/volatile")
}

// hasSecret: the memory for secrets, which a reboot empties, is filled again, and the value
// is nowhere else.
func (r rebooted) hasSecret() {
	r.t.Helper()
	if got := r.run("docker", "exec", "app-secretive-1", "/.ktrdr/exec", "env", "API_TOKEN"); got != secret {
		r.t.Errorf("%s: the container's secret is %q", r.what, got)
	}
	if out, err := r.try("grep", "--recursive", "--files-with-matches", secret, "/var/lib/docker/containers", "/var/lib/ktrdr", "/var/log"); err == nil {
		r.t.Errorf("%s: the value of a secret is on the disk: %s", r.what, out)
	}
}
