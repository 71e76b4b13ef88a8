package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// registering is a backend and a worker that registers there, on ports of the host that
// nobody else has.
type registering struct {
	*controlled
	backend, worker string // ports
}

func newRegistering(t *testing.T) *registering {
	t.Helper()
	r := &registering{controlled: newControlled(t), backend: freePort(t), worker: freePort(t)}
	file := filepath.Join(r.home, "secrets.env")
	r.extra = []string{"secrets: {dotenv: {file: " + file + "}, refresh: 1s}"}
	r.secret("a-secret-of-more-than-32-characters-1")
	return r
}

func (r *registering) secret(value string) {
	writeFile(r.t, filepath.Join(r.home, "secrets.env"), "JWT_SECRET="+value+"\n", 0o600)
}

// declare writes the stack; match is what an entry has to have as its address.
func (r *registering) declare(match, more string) {
	const check = `{test: ["CMD", "curl", "-sf", "http://127.0.0.1:%s"], interval: 1s}`
	r.stack(`variables: {JWT: "op://vault/item/jwt_secret"}
services:
  worker:
    registration:
      url: ${KTRDR_API_CLIENT_BASE_URL}/api/v1/workers
      match: {endpoint_url: "` + match + `"}
      state: status
      interval: 1s
` + more)
	r.compose(fmt.Sprintf(`services:
  backend:
    image: ktrdr-demo:1
    command: [backend]
    network_mode: host
    environment: {KTRDR_API_PORT: "%[1]s", KTRDR_DB_HOST: localhost, KTRDR_AUTH_JWT_SECRET: "${JWT}", KTRDRSIM_HEALTH_INTERVAL: 1s}
    healthcheck: %[3]s
    restart: unless-stopped
  worker:
    image: ktrdr-demo:1
    command: [worker, --type, backtesting]
    network_mode: host
    environment:
      KTRDR_API_CLIENT_BASE_URL: http://127.0.0.1:%[1]s
      KTRDR_WORKER_PORT: "%[2]s"
      KTRDR_WORKER_ID: the-worker
      KTRDR_WORKER_PUBLIC_BASE_URL: http://127.0.0.1:%[2]s
      KTRDRSIM_REREGISTER_AFTER: 3s
    healthcheck: %[4]s
    restart: unless-stopped
`, r.backend, r.worker, fmt.Sprintf(check, r.backend+"/api/v1/health"), fmt.Sprintf(check, r.worker+"/")))
}

const publicURL = "${KTRDR_WORKER_PUBLIC_BASE_URL}"

// document is what `ktrdrctl status -o json` says about the node.
func (r *registering) document(code int) (api.NodeStatus, error) {
	r.t.Helper()
	var d struct {
		Nodes []struct {
			Status api.NodeStatus `json:"status"`
		} `json:"nodes"`
	}
	out, got := r.tryCtl("status", "--output", "json")
	if err := json.Unmarshal([]byte(out), &d); err != nil || len(d.Nodes) != 1 {
		return api.NodeStatus{}, fmt.Errorf("status of %d nodes: %w", len(d.Nodes), err)
	}
	if got != code {
		return api.NodeStatus{}, fmt.Errorf("exit code %d, wanted %d", got, code)
	}
	return d.Nodes[0].Status, nil
}

// tells waits until `ktrdrctl status -o json` ends with code and says all of scenario 19:
// health, registration and mounts are looked at one after the other.
func (r *registering) tells(code int, generation uint64) {
	r.t.Helper()
	var missing []error
	err := poll(r.t.Context(), time.Minute, func() bool {
		st, err := r.document(code)
		if missing = []error{err}; err == nil {
			missing = r.lacks(st, generation)
		}
		return len(missing) == 0
	})
	if err != nil {
		r.t.Fatalf("the status does not tell all: %v", errors.Join(missing...))
	}
}

// lacks checks the sentence of scenario 19, word by word.
func (r *registering) lacks(st api.NodeStatus, generation uint64) []error {
	var list []error
	add := func(format string, args ...any) { list = append(list, fmt.Errorf(format, args...)) }
	for _, name := range []string{"backend", "worker"} {
		svc := service(st, r.name(name))
		if svc.Wanted == "" || svc.Actual != svc.Wanted {
			add("%s: desired digest %q, actual %q", name, svc.Wanted, svc.Actual)
		}
		if svc.Health != api.HealthHealthy || !svc.Converged {
			add("%s: health %q", name, svc.Health)
		}
	}
	if service(st, r.name("backend")).Registration != nil {
		add("the backend registers nowhere, and has a registration")
	}
	if got := service(st, r.name("worker")).Registration; got == nil || !got.Registered || got.State != "available" || got.Since.IsZero() {
		add("registration %+v", got)
	}
	if len(st.Registrars) != 1 || !st.Registrars[0].OK || st.Registrars[0].URL != "http://127.0.0.1:"+r.backend+"/api/v1/workers" {
		add("registrars %+v", st.Registrars)
	}
	if len(st.Mounts) != 1 || !st.Mounts[0].OK {
		add("mounts %+v", st.Mounts)
	}
	if len(st.Stacks) != 1 {
		add("%d stacks", len(st.Stacks))
		return list
	}
	secrets := st.Stacks[0].Secrets
	if len(secrets) != 1 || secrets[0].Reference != "op://vault/item/jwt_secret" || secrets[0].Generation != generation || secrets[0].Phase != "" || secrets[0].Wanted != 0 || secrets[0].Since.IsZero() {
		add("secrets %+v, wanted generation %d", secrets, generation)
	}
	if len(st.Backups) != 1 || !st.Backups[0].OK || st.Backups[0].File != "ktrdr-1.dump" || st.Time.Sub(st.Backups[0].Time).Round(time.Hour) != 2*time.Hour {
		add("backups %+v", st.Backups)
	}
	return list
}

// TestStatusTellsAll is acceptance scenario 19: `ktrdrctl status --output json` tells desired
// and actual digest, health, registration, NFS, generation of secrets and age of backups; and
// with the controller down the agent runs on, and still tells all of it.
func TestStatusTellsAll(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: mounts need root")
	}
	r := newRegistering(t)
	share := filepath.Join(r.home, "share")
	if err := os.Mkdir(share, 0o755); err != nil { //nolint:gosec // a mount point
		t.Fatal(err)
	}
	mountTmpfs(t, share)
	backup := filepath.Join(share, "ktrdr-1.dump")
	writeFile(t, backup, strings.Repeat("x", 2000), 0o644)
	aged := func(age time.Duration) {
		if err := os.Chtimes(backup, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	aged(2 * time.Hour)
	r.node("stacks: [{name: app}]\nmounts: [{path: " + share + ", type: tmpfs}]\n" +
		`backups: [{name: db, watch: {path: ` + share + `, pattern: "ktrdr-*.dump", maxAge: 26h, minSize: 1K, interval: 1s}}]`)
	r.declare(publicURL, "")
	commit := r.push()
	slice := r.publish(commit)
	r.start(r.stream())
	told := func(st api.NodeStatus) bool {
		reg := service(st, r.name("worker")).Registration
		return allConverged(st) && reg != nil && reg.Registered && len(st.Backups) == 1 && st.Backups[0].OK && len(st.Mounts) == 1
	}
	r.await("all is told", time.Minute, told)
	r.tells(0, 1)
	r.controller.AwaitStatus(t, "the controller hears it too", func(u *ktrdrv1.StatusUpdate) bool {
		st := u.GetStatus()
		if u.GetSliceDigest() != slice.GetDigest() || len(st.GetBackups()) != 1 || len(st.GetStacks()) != 1 || len(st.GetStacks()[0].GetReferences()) != 1 {
			return false
		}
		for _, svc := range st.GetStacks()[0].GetServices() {
			if svc.GetService() == "worker" {
				return svc.GetRegistration().GetRegistered() && st.GetBackups()[0].GetOk()
			}
		}
		return false
	})

	r.controller.Down()
	r.await("the loss of the controller", time.Minute, func(st api.NodeStatus) bool { return !st.Link.Connected })
	gone := r.on.must(t, r.name("worker"))
	r.on.remove(t, gone.ID)
	r.await("repaired and registered without a controller", time.Minute, func(st api.NodeStatus) bool {
		svc := service(st, r.name("worker"))
		reg := svc.Registration
		return allConverged(st) && svc.ID != gone.ID && reg != nil && reg.Registered && len(conditions(st, api.ReasonSourceFailed)) == 1
	})
	r.tells(2, 1) // 2: the source is not there
	r.secret("a-secret-of-more-than-32-characters-2")
	r.await("the next generation is in force", time.Minute, func(st api.NodeStatus) bool {
		s := st.Stacks[0].Secrets
		reg := service(st, r.name("worker")).Registration
		return len(s) == 1 && s[0].Generation == 2 && allConverged(st) && reg != nil && reg.Registered
	})
	r.tells(2, 2)

	aged(27 * time.Hour)
	st := r.await("an old backup is told", time.Minute, func(st api.NodeStatus) bool { return len(conditions(st, api.ReasonBackupStale)) == 1 })
	if c := conditions(st, api.ReasonBackupStale)[0]; c.Type != api.ConditionWarning || c.Object != "db" || !strings.Contains(c.Message, "ktrdr-1.dump") {
		t.Errorf("condition %+v", c)
	}
	writeFile(t, filepath.Join(share, "ktrdr-2.dump"), strings.Repeat("x", 2000), 0o644)
	r.await("a new backup ends it", time.Minute, func(st api.NodeStatus) bool {
		return len(conditions(st, api.ReasonBackupStale)) == 0 && st.Backups[0].File == "ktrdr-2.dump"
	})
}

// TestBackendDies: a backend that is down is told, and no worker is touched for it; when it
// is back and the worker has registered again, it is over.
func TestBackendDies(t *testing.T) {
	r := newRegistering(t)
	r.declare(publicURL, "")
	first := r.push()
	r.start(r.source(", pollInterval: 1s"))
	r.reached(first)
	registered := func(st api.NodeStatus) bool {
		reg := service(st, r.name("worker")).Registration
		return reg != nil && reg.Registered && len(conditions(st, api.ReasonRegistrarDown)) == 0 && len(conditions(st, api.ReasonNotRegistered)) == 0
	}
	r.await("registered", time.Minute, registered)
	before := r.on.snapshot(t, r.name("worker"))
	r.ctl(0, "hold", "app", "--why", "the backend shall stay down")
	r.on.post(t, "/containers/"+r.name("backend")+"/kill", nil)
	began := time.Now()
	st := r.await("told", time.Minute, func(st api.NodeStatus) bool { return len(conditions(st, api.ReasonRegistrarDown)) == 1 })
	t.Logf("told %s after the backend's death", time.Since(began).Round(time.Millisecond))
	c := conditions(st, api.ReasonRegistrarDown)[0]
	if c.Type != api.ConditionWarning || c.Object != r.name("worker") || !strings.Contains(c.Message, r.backend) {
		t.Errorf("condition %+v", c)
	}
	if svc := service(st, r.name("worker")); !svc.Converged || svc.Registration.Registered || svc.Registration.Reason != api.ReasonRegistrarDown {
		t.Errorf("the worker: %+v, %+v", svc, svc.Registration)
	}
	if out := r.ctl(2, "status"); !strings.Contains(out, "Warning RegistrarUnreachable") || !strings.Contains(out, "fix: Bring back") {
		t.Errorf("ktrdrctl status does not say it:\n%s", out)
	}
	r.ctl(0, "resume", "app")
	r.await("over", time.Minute, func(st api.NodeStatus) bool { return registered(st) && allConverged(st) })
	r.on.untouched(t, before)
	eventually(t, "events about it", time.Minute, func() bool { // they follow the status
		events := r.ctl(0, "events")
		return strings.Contains(events, "RegistrarUnreachable") && strings.Contains(events, "is over")
	})
}

// TestRequiredRegistration: where it is required, a worker that nobody knows is no success;
// and nothing is replaced for what is looked for.
func TestRequiredRegistration(t *testing.T) {
	r := newRegistering(t)
	r.declare("http://another:1", "      required: true\n      grace: 3s\n")
	first := r.push()
	r.start(r.source(", pollInterval: 1s"))
	// The worker may register later than its grace ends.
	st := r.await("degraded", time.Minute, func(st api.NodeStatus) bool {
		found := conditions(st, api.ReasonNotRegistered)
		return st.Revision == first && len(found) == 1 && strings.Contains(found[0].Message, "lists 1, none with endpoint_url=http://another:1") &&
			service(st, r.name("worker")).Health == api.HealthHealthy
	})
	if c := conditions(st, api.ReasonNotRegistered)[0]; c.Type != api.ConditionDegraded {
		t.Errorf("condition %+v", c)
	}
	if svc := service(st, r.name("worker")); svc.Converged || svc.Reason != api.ReasonNotRegistered || allConverged(st) {
		t.Errorf("the worker: %+v", svc)
	}
	before := r.on.snapshot(t, r.name("worker"), r.name("backend"))
	during(t, "not converged, and left alone", 3*time.Second, func() bool { return !allConverged(r.status()) })
	r.ctl(2, "status")
	r.declare(publicURL, "      required: true\n      grace: 3s\n")
	r.reached(r.push())
	r.on.untouched(t, before)
	r.ctl(0, "status")
}
