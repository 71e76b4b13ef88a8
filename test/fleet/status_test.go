package fleet_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// workersOf are the containers of each node that register at the backend.
var workersOf = map[string][]string{ //nolint:gochecknoglobals // a table
	"b": {"backtest-worker-1", "training-worker-1"}, "c": {"backtest-worker-1"}, "gpu": {"training-worker-gpu"},
}

// TestStatus is acceptance scenario 19 with the whole product: a controller tells of each node
// desired and actual digest, health, registration, busy or idle, the share, generation of secrets
// and age of backups, to programs and to people; with the controller gone the agents run on, each
// tells the same of itself, and the controller knows what changed when it is back.
func TestStatus(t *testing.T) {
	f := theFleet(t).base(t)
	d := f.karl.await(t, "all workers are registered and idle", func(d *document) bool { return d.registered("available") })
	for i := range d.Nodes {
		f.tellsAll(t, &d, d.Nodes[i].Name)
	}
	f.tellsPeople(t, &d)

	f.busyIsTold(t)
	f.oldBackupIsTold(t)

	before, known := f.running(t), generationOf(d.of("gpu"))
	f.controller.run(t, "systemctl", "stop", "ktrdr-controller")
	if a := f.karl.try("ktrdrctl", "status"); a.code != 4 {
		t.Errorf("with the controller down, ktrdrctl status ends with %s", a)
	}
	f.nodes["c"].run(t, "docker", "rm", "--force", "backtest-worker-1")
	began := time.Now()
	eventually(t, "an agent without its controller repairs", func() bool { return f.nodes["c"].tag("backtest-worker-1") != "" && f.nodes["c"].converged() })
	t.Logf("without the controller, what was removed ran again after %s", since(began))
	gpu := f.nodes["gpu"]
	f.rotate(t, gpu, "another password of the database")
	eventually(t, "an agent without its controller takes a new value of a secret", func() bool {
		st, err := gpu.status()
		r := registrationOf(&st, "training-worker-gpu")
		return err == nil && generationOf(&st) == known+1 && gpu.converged() && r != nil && r.Registered
	})
	f.tellsAlone(t, gpu, known+1)
	delete(before, "c/backtest-worker-1")
	delete(before, "gpu/training-worker-gpu")
	f.untouched(t, "controller down", before)

	began = time.Now()
	f.controller.run(t, "systemctl", "start", "ktrdr-controller")
	d = f.karl.await(t, "all are connected again, and workers are registered", func(d *document) bool {
		return d.settled(d.Head.Revision) && d.registered("available") && generationOf(d.of("gpu")) == known+1
	})
	t.Logf("all were connected again %s after the controller's start", since(began))
	f.tellsAll(t, &d, "gpu")
	f.tellsAll(t, &d, "c")
	f.rotate(t, gpu, planted.password.Value)
	f.karl.await(t, "all is as before", func(d *document) bool {
		return d.settled(d.Head.Revision) && d.registered("available") && generationOf(d.of("gpu")) > known+1
	})
}

// of is what the agent of a node said last; nil when nothing is known.
func (d *document) of(node string) *api.NodeStatus {
	for i := range d.Nodes {
		if d.Nodes[i].Name == node {
			return d.Nodes[i].Status
		}
	}
	return nil
}

// registered tells whether all workers are, each in a state.
func (d *document) registered(state string) bool {
	for node, names := range workersOf {
		for _, name := range names {
			if r := registrationOf(d.of(node), name); r == nil || !r.Registered || r.State != state {
				return false
			}
		}
	}
	return true
}

func registrationOf(st *api.NodeStatus, name string) *api.RegistrationStatus {
	if st == nil {
		return nil
	}
	for i := range st.Stacks {
		for j := range st.Stacks[i].Services {
			if svc := &st.Stacks[i].Services[j]; svc.Container == name {
				return svc.Registration
			}
		}
	}
	return nil
}

// generationOf is that of the database's password in the node's first stack; 0 when it has none.
func generationOf(st *api.NodeStatus) uint64 {
	if st == nil || len(st.Stacks) == 0 {
		return 0
	}
	for _, s := range st.Stacks[0].Secrets {
		if strings.HasSuffix(s.Reference, "/"+planted.password.Name) && s.Phase == "" && s.Wanted == 0 {
			return s.Generation
		}
	}
	return 0
}

// agentVersion is that of the installed agent: other tests upgrade it.
func (n *node) agentVersion(t *testing.T) string {
	t.Helper()
	installed, _, _ := strings.Cut(n.run(t, "ktrdr-agent", "version"), " ")
	return installed
}

// tellsAll checks each word of the scenario's sentence for a node.
func (f *fleet) tellsAll(t *testing.T, d *document, name string) {
	t.Helper()
	n := d.Nodes[d.index(t, name)]
	installed := f.nodes[name].agentVersion(t)
	if !n.Connected || !n.Converged || !n.Joined || !n.Desired || n.Version != installed || n.CertificateEnds.Before(time.Now()) || n.Status == nil {
		t.Fatalf("%s: %+v", n.Name, n)
	}
	found, err := f.nodes[name].containers()
	if err != nil {
		t.Fatal(err)
	}
	for i := range n.Status.Stacks {
		s := &n.Status.Stacks[i]
		for _, svc := range s.Services {
			if svc.Image == "" || svc.Wanted == "" || svc.Wanted != svc.Actual || svc.State != "running" || svc.Health != api.HealthHealthy || svc.StartedAt.IsZero() {
				t.Errorf("%s: %s of %s is told incompletely: %+v", name, svc.Service, s.Name, svc)
			}
			if is := found[svc.Container]; !is.State.Running || is.ID != svc.ID {
				t.Errorf("%s: %s is told as %s, the engine has %s", name, svc.Container, svc.ID, is.ID)
			}
			if wants := slices.Contains(workersOf[name], svc.Container); wants != (svc.Registration != nil) {
				t.Errorf("%s: registration of %s: %+v", name, svc.Container, svc.Registration)
			} else if r := svc.Registration; wants && (!r.Registered || r.State != "available" || r.Since.IsZero()) {
				t.Errorf("%s: registration of %s: %+v", name, svc.Container, r)
			}
		}
		if len(s.Secrets) == 0 || generationOf(n.Status) == 0 {
			t.Errorf("%s: secrets of %s: %+v", name, s.Name, s.Secrets)
		}
		for _, secret := range s.Secrets {
			if !strings.HasPrefix(secret.Reference, "op://") || secret.Generation == 0 || secret.Since.IsZero() {
				t.Errorf("%s: %s uses %+v", name, s.Name, secret)
			}
		}
	}
	f.tellsFacts(t, n.Status, name)
}

// tellsFacts: the share, who registers workers, and the backup of last night.
func (f *fleet) tellsFacts(t *testing.T, st *api.NodeStatus, name string) {
	t.Helper()
	if len(st.Mounts) != 1 || !st.Mounts[0].OK || st.Mounts[0].Path != "/mnt/ktrdr_data" || len(st.SecretProviders) != 1 {
		t.Errorf("%s tells of its share %+v and of its secrets %+v", name, st.Mounts, st.SecretProviders)
	}
	if _, has := workersOf[name]; has && (len(st.Registrars) != 1 || !st.Registrars[0].OK || st.Registrars[0].URL != "http://backend.lab:8000/api/v1/workers") {
		t.Errorf("%s: registrars %+v", name, st.Registrars)
	}
	if name != "a" {
		if len(st.Backups) != 0 {
			t.Errorf("%s has no backups and tells %+v", name, st.Backups)
		}
		return
	}
	if len(st.Backups) != 1 {
		t.Fatalf("backups %+v", st.Backups)
	}
	changed := strings.TrimSpace(f.nodes[name].run(t, "stat", "--format", "%Y", backupFile))
	if b := st.Backups[0]; !b.OK || b.Stack != "core" || b.Name != "db" || b.File != "ktrdr-nightly.dump" || b.Size != 1<<20 || fmt.Sprint(b.Time.Unix()) != changed {
		t.Errorf("backup %+v, the file is of %s", b, changed)
	}
}

// tellsPeople: the tables say what the document says.
func (f *fleet) tellsPeople(t *testing.T, d *document) {
	t.Helper()
	held := d.of("a").Revision // older than the head's, where that changes nothing for the node
	short, wide := f.karl.ctl(t, 0, "status"), f.karl.ctl(t, 0, "status", "--output", "wide")
	t.Logf("ktrdrctl status -o wide says:\n%s", wide)
	for _, row := range []string{
		`(?m)^fleet \S+  head ` + d.Head.Revision[:7],
		`(?m)^rollout ` + d.Rollout.Revision[:7] + `\S* succeeded`,
		`(?m)^a +Converged +1/1 +` + held[:7] + `\S* .*` + regexp.QuoteMeta(f.nodes["a"].agentVersion(t)),
		`(?m)^c +workers +backtest-worker-1 +backtest-worker-1 +running +healthy +ktrdr-backend:sha-de00001 `,
		`(?m)^gpu +gpu +training-worker-gpu +training-worker-gpu +running +healthy `,
	} {
		hasRow(t, "status", short, row)
		hasRow(t, "status -o wide", wide, row)
	}
	rows := []string{
		`(?m)^a +/mnt/ktrdr_data +ok `,
		`(?m)^a +core/db +ok +\d+\w+ +1 MB +ktrdr-nightly\.dump `,
		`(?m)^a +core +op://KTRDR Homelab Secrets/\S+/` + planted.jwt.Name + ` +[1-9]\d* +ok `,
		fmt.Sprintf(`(?m)^gpu +gpu +op://KTRDR Homelab Secrets/\S+/%s +%d +ok `, planted.password.Name, generationOf(d.of("gpu"))),
	}
	for node, names := range workersOf {
		for _, name := range names {
			rows = append(rows, `(?m)^`+node+` +\w+ +`+name+` +ok +available +\d+\w+ `)
		}
	}
	for _, row := range rows {
		hasRow(t, "status -o wide", wide, row)
		if regexp.MustCompile(row).MatchString(short) {
			t.Errorf("status without -o wide has a row %s", row)
		}
	}
}

func hasRow(t *testing.T, what, text, row string) {
	t.Helper()
	if !regexp.MustCompile(row).MatchString(text + "\n") {
		t.Errorf("%s has no row %s:\n%s", what, row, text)
	}
}

// busyIsTold: a worker with an operation is busy, its neighbour is not.
func (f *fleet) busyIsTold(t *testing.T) {
	t.Helper()
	body := []byte(`{"operation_id": "op_of_scenario_19", "operation_type": "backtesting", "duration_seconds": 600}`)
	ctx, cancel := contextFor(limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://workers-b.lab:5003/operations", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: world.network.DialContext}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("the worker answers %s", resp.Status)
	}
	began := time.Now()
	f.karl.await(t, "a worker is busy", func(d *document) bool {
		one, other := registrationOf(d.of("b"), "backtest-worker-1"), registrationOf(d.of("b"), "training-worker-1")
		return one != nil && one.Registered && one.State == "busy" && other != nil && other.State == "available"
	})
	t.Logf("a worker was told as busy %s after its operation began", since(began))
	hasRow(t, "status -o wide", f.karl.ctl(t, 0, "status", "--output", "wide"), `(?m)^b +workers +backtest-worker-1 +ok +busy `)
	f.nodes["b"].run(t, "docker", "restart", "--time", "1", "backtest-worker-1")
	f.karl.await(t, "it is idle again", func(d *document) bool { return d.settled(d.Head.Revision) && d.registered("available") })
}

const backupFile = "/mnt/ktrdr_data/backups/ktrdr-nightly.dump"

// oldBackupIsTold: its age is a warning with its fix, which a new one ends.
func (f *fleet) oldBackupIsTold(t *testing.T) {
	t.Helper()
	a := f.nodes["a"]
	stale := func(d *document) *api.Condition {
		if st := d.of("a"); st != nil {
			if i := slices.IndexFunc(st.Conditions, func(c api.Condition) bool { return c.Reason == api.ReasonBackupStale }); i >= 0 {
				return &st.Conditions[i]
			}
		}
		return nil
	}
	a.run(t, "touch", "--date", "27 hours ago", backupFile)
	d := f.karl.await(t, "the backup is old", func(d *document) bool { return stale(d) != nil })
	if c := stale(&d); c.Type != api.ConditionWarning || c.Object != "core/db" && c.Object != "db" || !strings.Contains(c.Message, "ktrdr-nightly.dump") {
		t.Errorf("condition %+v", c)
	}
	out := f.karl.ctl(t, 0, "status", "--output", "wide") // 0: a warning
	hasRow(t, "status -o wide", out, `(?m)^a +core/db +BackupStale +27h\w* +1 MB +ktrdr-nightly\.dump `)
	hasRow(t, "status", f.karl.ctl(t, 0, "status"), `(?s)Warning BackupStale +a/.*?\n +fix: Find out why the backup did not run`)
	a.run(t, "touch", backupFile)
	f.karl.await(t, "the backup is new", func(d *document) bool { return stale(d) == nil && d.of("a") != nil && d.of("a").Backups[0].OK })
}

// rotate gives the database's password another value on a node, until the test ends.
func (f *fleet) rotate(t *testing.T, n *node, value string) {
	t.Helper()
	old, was := secretsFile(), dotenvQuote(planted.password.Value)
	if !strings.Contains(old, was) {
		t.Fatal("the file of secrets has no password of the database")
	}
	put := func(text string) {
		if err := n.put("/etc/ktrdr/secrets.env", text, 0o600); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { put(old) })
	put(strings.Replace(old, was, dotenvQuote(value), 1))
}

// tellsAlone: on the machine itself ktrdrctl asks the agent, which tells the same.
func (f *fleet) tellsAlone(t *testing.T, n *node, generation uint64) {
	t.Helper()
	var d document
	if err := json.Unmarshal([]byte(n.alone(t, "json")), &d); err != nil || len(d.Nodes) != 1 {
		t.Fatalf("the agent tells of %d nodes: %v", len(d.Nodes), err)
	}
	st := d.of(n.name)
	if st == nil || st.Link == nil || st.Link.Connected || generationOf(st) != generation {
		t.Fatalf("without the controller the agent tells %+v", st)
	}
	f.tellsFacts(t, st, n.name)
	wide := n.alone(t, "wide")
	hasRow(t, "status of the agent", wide, `(?m)^controller \S+.* not connected`)
	for _, name := range workersOf[n.name] {
		hasRow(t, "status of the agent", wide, `(?m)^`+n.name+` +\w+ +`+name+` `)
	}
	hasRow(t, "status of the agent", wide, fmt.Sprintf(`(?m)^%s +\w+ +op://.*/%s +%d +ok `, n.name, planted.password.Name, generation))
}

// alone is what ktrdrctl says on the machine; its exit code is 2, as there is no controller.
func (n *node) alone(t *testing.T, format string) string {
	t.Helper()
	return n.run(t, "sh", "-c", "ktrdrctl status --output "+format+"; test $? -eq 2")
}
