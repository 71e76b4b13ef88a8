package e2e_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// withSecret has one service that needs a secret and two that do not.
const withSecret = twoServices + `
  secretive:
    image: ktrdr-demo:1
    command: ["http", "--port", "8082", "--name", "secretive"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment: {API_TOKEN: "${API_TOKEN}"}
  bound:
    image: ktrdr-demo:1
    command: ["http", "--port", "8083", "--name", "bound"]
    restart: unless-stopped
    healthcheck: {disable: true}
    volumes:
      - {type: bind, source: ` + late + `, target: /data, bind: {create_host_path: false}}
`

// late is a folder of the node that a reboot takes away, as it does with mounts: the engine
// tries the containers that bind it once and gives up.
const late = "/run/e2e-late"

// TestEngineFaults kills, hangs and reboots the engine under an agent.
func TestEngineFaults(t *testing.T) {
	t.Parallel()
	n, engine := newNode(t)
	o := &origin{agent: bareAgent(t, engine, n)}
	o.bare = filepath.Join(o.home, "origin.git")
	o.node("stacks: [{name: app}]")
	o.stack("variables: {API_TOKEN: op://e2e/app/token}")
	o.compose(withSecret)
	o.git("init", "--quiet", "--bare", "--initial-branch=main", o.bare)
	o.git("init", "--quiet", "--initial-branch=main")
	o.git("remote", "add", "origin", o.bare)
	secrets := filepath.Join(o.home, "secrets.env")
	writeFile(t, secrets, "TOKEN=the-token-19d3\n", 0o600)
	o.extra = []string{"secrets: {dotenv: {file: " + secrets + "}, refresh: 1s}", o.source(", pollInterval: 1s")}
	on(t, n, "mkdir", late)
	o.push()
	o.start()
	o.converged()
	names := []string{o.name("web"), o.name("other"), o.name("secretive"), o.name("bound")}
	f := &engineFaults{origin: o, node: n, containers: names}
	f.killed(t)
	f.frozen(t)
	f.rebooted(t, secrets)
}

type engineFaults struct {
	*origin
	// node is host, by what this test does to its engine.
	node interface {
		KillEngine(ctx context.Context) error
		FreezeEngine() error
		ThawEngine() error
	}
	containers []string
}

// killed: without live-restore the engine leaves `unless-stopped` containers as they ended.
func (f *engineFaults) killed(t *testing.T) {
	t.Helper()
	before := f.agent.on.snapshot(t, f.containers...)
	if err := f.node.KillEngine(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.await("told", time.Minute, func(st api.NodeStatus) bool { return !st.Engine.Reachable && len(st.Conditions) > 0 })
	if err := f.host.StartEngine(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	f.await("converged", 2*time.Minute, func(st api.NodeStatus) bool { return st.Engine.Reachable && allConverged(st) && f.allRun(t) })
	t.Logf("kill -9 of dockerd: converged %s after its start", time.Since(began).Round(time.Millisecond))
	for name, was := range before {
		if now := f.agent.on.must(t, name); now.ID != was.ID {
			t.Errorf("%s was replaced, a start was enough", name)
		}
	}
}

func (f *engineFaults) allRun(t *testing.T) bool {
	t.Helper()
	for _, name := range f.containers {
		if !f.agent.on.running(t, name) {
			return false
		}
	}
	return true
}

// frozen: an engine that accepts connections and never answers.
func (f *engineFaults) frozen(t *testing.T) {
	t.Helper()
	before := f.agent.on.snapshot(t, f.containers...)
	if err := f.node.FreezeEngine(); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	told := time.Duration(0)
	// It stays frozen for 20 s, and longer where the agent needs longer to tell.
	_ = poll(t.Context(), 2*time.Minute, func() bool {
		if code, _, err := f.ask(http.MethodGet, "/healthz"); err != nil || code != http.StatusOK {
			t.Errorf("/healthz while the engine hangs: %d %v", code, err)
			return true
		}
		if told == 0 && len(conditions(f.status(), api.ReasonEngineHung)) > 0 {
			told = time.Since(frozen)
		}
		return told > 0 && time.Since(frozen) > 20*time.Second
	})
	if err := f.node.ThawEngine(); err != nil {
		t.Fatal(err)
	}
	if told == 0 {
		t.Error("a hung engine was not told within two minutes")
	}
	thawed := time.Now()
	f.await("recovered", time.Minute, func(st api.NodeStatus) bool {
		return st.Engine.Reachable && allConverged(st) && len(st.Conditions) == 0
	})
	t.Logf("hung dockerd: told after %s, recovered %s after it went on", told.Round(time.Millisecond), time.Since(thawed).Round(time.Millisecond))
	f.agent.on.untouched(t, before)
	f.agent.on.remove(t, f.name("web"))
	eventually(t, "healed after the hang", time.Minute, func() bool { return f.agent.on.running(t, f.name("web")) })
	f.converged()
}

// rebooted is acceptance scenario 20: a reboot with git and secrets out of reach.
func (f *engineFaults) rebooted(t *testing.T, secrets string) {
	t.Helper()
	f.cutOff(t, secrets)
	// One container that needs no secret is gone, and one that does.
	f.agent.on.remove(t, f.name("other"))
	f.agent.on.remove(t, f.name("secretive"))
	f.start()
	st := f.await("what needs no secrets runs, and what is missing is told", 2*time.Minute, func(st api.NodeStatus) bool {
		return service(st, f.name("web")).Converged && service(st, f.name("other")).Converged &&
			service(st, f.name("secretive")).Reason == api.ReasonSecretMissing && strings.Contains(service(st, f.name("bound")).Message, late) &&
			len(conditions(st, "RepositoryNotFound")) > 0
	})
	if msg := service(st, f.name("secretive")).Message; !strings.Contains(msg, "op://e2e/app/token") {
		t.Errorf("it does not say what it waits for: %q", msg)
	}
	if svc := service(st, f.name("bound")); svc.Converged {
		t.Errorf("a container that can't be started without a folder is as wanted: %+v", svc)
	}
	on(t, f.host, "mkdir", late)
	f.back(t, secrets)

	// The same with every container still there: those without secrets run; the engine can't
	// start the one whose secrets were in memory, and the agent says what it waits for.
	f.cutOff(t, secrets)
	on(t, f.host, "mkdir", late)
	kept := f.agent.on.must(t, f.name("secretive"))
	began := time.Now()
	f.start()
	f.await("all that need no secrets run after a reboot", 2*time.Minute, func(st api.NodeStatus) bool {
		svc := service(st, f.name("secretive"))
		return service(st, f.name("web")).Converged && service(st, f.name("other")).Converged && service(st, f.name("bound")).Converged &&
			svc.Reason == api.ReasonSecretMissing && strings.Contains(svc.Message, "op://e2e/app/token")
	})
	t.Logf("reboot without git and secrets: what needs none runs %s after the agent's start", time.Since(began).Round(time.Millisecond))
	if f.agent.on.running(t, f.name("secretive")) {
		t.Error("a container runs without its secret")
	}
	f.back(t, secrets)
	if now := f.agent.on.must(t, f.name("secretive")); now.ID != kept.ID {
		t.Error("the container was replaced, a start was enough")
	}
}

// cutOff reboots the node and takes git and secrets away.
func (f *engineFaults) cutOff(t *testing.T, secrets string) {
	t.Helper()
	if err := f.host.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.kill()
	for _, path := range []string{f.bare, secrets} {
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
	}
}

// back brings git and secrets back and waits for everything to converge without help.
func (f *engineFaults) back(t *testing.T, secrets string) {
	t.Helper()
	for _, path := range []string{f.bare, secrets} {
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
	}
	f.await("converged without help", 2*time.Minute, func(st api.NodeStatus) bool {
		return allConverged(st) && len(st.Conditions) == 0 && f.allRun(t)
	})
}

// TestStateCorrupt: the agent's memory is damaged; it says so and goes on.
func TestStateCorrupt(t *testing.T) {
	a := newAgent(t, twoServices, "")
	a.start()
	a.converged()
	before := a.on.snapshot(t, a.name("web"), a.name("other"))
	a.stop()
	path := filepath.Join(a.state, "state.db")
	// Both headers and one page stay: half of the file can be all that is in use.
	if err := os.Truncate(path, int64(3*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	a.start()
	st := a.converged()
	if len(conditions(st, api.ReasonStateCorrupt)) == 0 {
		t.Errorf("the damage is not told: %+v", st.Conditions)
	}
	a.on.untouched(t, before)
	a.on.remove(t, a.name("web"))
	eventually(t, "healed", time.Minute, func() bool { return a.on.running(t, a.name("web")) })
	a.restart()
	a.converged()
}

// TestDiskFull: the agent's disk is full; it heals, says so, and goes on when there is room.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: mounts need root")
	}
	a := newAgent(t, twoServices, "")
	if err := os.Mkdir(a.state, 0o711); err != nil { //nolint:gosec // as the agent makes it
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", a.state, "tmpfs", 0, "size=2m,mode=711"); err != nil {
		t.Skipf("SKIPPED: can't mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		a.stop()
		_ = syscall.Unmount(a.state, syscall.MNT_DETACH)
	})
	a.start()
	a.converged()
	filler := filepath.Join(a.state, "filler")
	fill(t, filler)
	a.on.remove(t, a.name("web"))
	eventually(t, "healed with a full disk", time.Minute, func() bool { return a.on.running(t, a.name("web")) })
	a.compose(edited(twoServices, "full"))
	st := a.await("the full disk is told", time.Minute, func(st api.NodeStatus) bool { return len(st.Conditions) > 0 })
	t.Logf("disk full: %s: %s", st.Conditions[0].Reason, st.Conditions[0].Message)
	a.on.remove(t, a.name("other"))
	eventually(t, "healed while it can't take a new state over", time.Minute, func() bool { return a.on.running(t, a.name("other")) })
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	a.await("converged once there is room", 2*time.Minute, func(st api.NodeStatus) bool { return allConverged(st) && len(st.Conditions) == 0 })
	eventually(t, "the change is there", 2*time.Minute, func() bool {
		c := a.on.container(t, a.name("web"))
		return c != nil && strings.Contains(strings.Join(c.Config.Env, "\n"), "CHANGED=full")
	})
}

// fill writes until no room is left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, size := range []int{64 << 10, 4 << 10, 1} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		err = nil
	}
}
