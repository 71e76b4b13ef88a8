package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/lab"
	"ktrdr.io/fleet/test/look"
)

// databaseImage makes an image of Debian's PostgreSQL on the machine's engine, once for
// each root file system that scripts/database-root.sh makes.
func databaseImage(t *testing.T) string {
	t.Helper()
	root, err := lab.DatabaseRoot(t.Context(), module(t))
	if errors.Is(err, lab.ErrUnavailable) {
		t.Skipf("SKIPPED: no real PostgreSQL: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	name, tag := "ktrdr-postgres", filepath.Base(root)
	d := machine()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if d.call(ctx, http.MethodGet, "/images/"+name+":"+tag+"/json", nil, nil) == nil {
		return name + ":" + tag
	}
	pack := exec.CommandContext(ctx, "tar", "-C", root, "-c", ".")
	archive, err := pack.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := pack.Start(); err != nil {
		t.Fatal(err)
	}
	query := url.Values{"fromSrc": {"-"}, "repo": {name}, "tag": {tag}, "changes": {
		"ENV PATH=/usr/lib/postgresql/bin:/usr/bin:/bin", "USER postgres",
	}}
	err = errors.Join(d.importFrom(ctx, "/images/create?"+query.Encode(), archive), pack.Wait())
	if err != nil {
		t.Fatalf("import the image of PostgreSQL: %v", err)
	}
	return name + ":" + tag
}

// importFrom posts a stream of any length.
func (d docker) importFrom(ctx context.Context, path string, body io.Reader) error {
	client := http.Client{Transport: look.Socket(d.socket)}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker/v1.41"+path, body)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode >= http.StatusBadRequest || strings.Contains(string(said), `"error"`) {
		return fmt.Errorf("%s: %s", resp.Status, said)
	}
	return err
}

// initDatabase is what the entrypoints of PostgreSQL's images do: the password is applied
// when the data are made, and never again. Everything that is said to the server is logged.
const initDatabase = `#!/bin/sh
set -e
if [ ! -s "$$HOME/data/PG_VERSION" ]; then
  printf %s "$$POSTGRES_PASSWORD" > /dev/shm/pw
  initdb -D "$$HOME/data" -U "$$POSTGRES_USER" --pwfile=/dev/shm/pw --auth-local=trust --auth-host=scram-sha-256 -E UTF8 --no-locale --no-sync
  rm /dev/shm/pw
  echo "host all all all scram-sha-256" >> "$$HOME/data/pg_hba.conf"
fi
exec postgres -D "$$HOME/data" -c listen_addresses=* -c fsync=off -c jit=off -c log_statement=all
`

// alterRole is the rotation command of the sample desired state.
const alterRole = `{secret: DB_PASSWORD, exec: [sh, -c, 'new=$(cat) && printf "%s\n%s\n" "$new" "$new" | psql -X -U "$POSTGRES_USER" -d postgres -c "\\password"']}`

// rotationWorld is a real PostgreSQL and those who log in to it, in two stacks.
type rotationWorld struct {
	*connectWorld
	db, backend, worker string
	image               string
}

const clientOfDatabase = `
    image: IMAGE
    command: [sleep, infinity]
    init: true
    restart: unless-stopped
    stop_grace_period: 1s
    environment: {PGHOST: db, PGUSER: "${DB_USER}", PGPASSWORD: "${DB_PASSWORD}", PGDATABASE: postgres}
    healthcheck: {test: [CMD, psql, -c, select 1], interval: 2s, retries: 10}
    networks: [net]
`

func newRotationWorld(t *testing.T) *rotationWorld {
	t.Helper()
	image := databaseImage(t)
	w := &rotationWorld{connectWorld: newConnectWorld(t), image: image}
	w.db, w.backend, w.worker = w.name("db"), w.name("backend"), w.project+"-jobs-worker-1"
	w.node("stacks: [{name: app}, {name: jobs}]")
	w.rotation(alterRole)
	client := strings.ReplaceAll(clientOfDatabase, "IMAGE", image)
	w.compose(`
services:
  db:
    image: ` + image + `
    entrypoint: [/init-database]
    user: postgres
    restart: unless-stopped
    environment: {HOME: /var/lib/postgresql, POSTGRES_USER: "${DB_USER}", POSTGRES_PASSWORD: "${DB_PASSWORD}"}
    healthcheck: {test: [CMD, pg_isready, -h, 127.0.0.1], interval: 2s, retries: 10}
    volumes: ["data:/var/lib/postgresql"]
    configs: [{source: init, target: /init-database, mode: 0755}]
    networks: [net]
  backend:` + client + `    depends_on: {db: {condition: service_healthy}}
networks: {net: {}}
volumes: {data: {}}
configs:
  init:
    content: |
` + strings.ReplaceAll("\n"+strings.TrimSpace(initDatabase), "\n", "\n      ")[1:] + "\n")
	const vault = "op://" + vaultOfUser + "/" + itemOfUser + "/"
	w.write("stacks/jobs/stack.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: jobs}\nspec:\n  project: "+w.project+"-jobs\n"+
		"  variables: {DB_USER: "+vault+"db_username, DB_PASSWORD: "+vault+"db_password}\n")
	w.write("stacks/jobs/compose.yaml", "services:\n  worker:"+client+"networks: {net: {external: true, name: "+w.net("net")+"}}\n")
	return w
}

// rotation writes the stack with a rotation; empty declares none.
func (w *rotationWorld) rotation(entry string) {
	const vault = "op://" + vaultOfUser + "/" + itemOfUser + "/"
	spec := "variables: {DB_USER: " + vault + "db_username, DB_PASSWORD: " + vault + "db_password}\n"
	if entry != "" {
		spec += "services: {db: {rotation: [" + entry + "]}}\n"
	}
	w.stack(spec)
}

// logsIn tells whether the database accepts a password over TCP.
func (w *rotationWorld) logsIn(t *testing.T, password string) bool {
	t.Helper()
	code, _ := w.on.exec(t, w.db, "env", "PGPASSWORD="+password, "psql", "-wAt", "-P", "pager=off", "-h", "127.0.0.1", "-U", "ktrdr", "-d", "postgres", "-c", "select 1")
	return code == 0
}

func (w *rotationWorld) accepts(t *testing.T, want, not string) {
	t.Helper()
	if !w.logsIn(t, want) || w.logsIn(t, not) {
		t.Errorf("the database has to accept %s and refuse %s", want, not)
	}
}

// Passwords with all that shells and SQL trip over.
const (
	firstPassword  = "first-db-password-5d1" // of newConnectWorld
	secondPassword = `second'"$(id)\pass word-ü`
	thirdPassword  = "third-db-password-c9"
)

// TestRotation is acceptance scenario 18 with a real PostgreSQL: the role is altered, then
// those who log in are replaced, once each, in two stacks; with a command that fails nothing
// is; without one a new password is refused, and the old one outlives the agent.
func TestRotation(t *testing.T) {
	w := newRotationWorld(t)
	w.start()
	w.converged()
	w.accepts(t, firstPassword, secondPassword)
	before := w.on.snapshot(t, w.db, w.backend, w.worker)

	w.change(func() { w.rotation(`{secret: DB_PASSWORD, exec: [sh, -c, 'echo "cannot alter to $(cat)"; exit 3']}`) })
	w.set(t, "db_password", secondPassword)
	st := w.await("the failure is told", time.Minute, func(st api.NodeStatus) bool { return len(conditions(st, api.ReasonRotationFailed)) >= 2 })
	names(t, fmt.Sprint(conditions(st, api.ReasonRotationFailed)), "exit code 3", "cannot alter to", "[redacted]")
	w.looks(t, 2)
	w.on.untouched(t, before)
	w.accepts(t, firstPassword, secondPassword)

	app, jobs := w.on.hear(t, w.project), w.on.hear(t, w.project+"-jobs")
	w.rotation(alterRole)
	w.await("rotated", 2*time.Minute, func(st api.NodeStatus) bool {
		return allConverged(st) && service(st, w.backend).ID != before[w.backend].ID && service(st, w.worker).ID != before[w.worker].ID
	})
	w.accepts(t, secondPassword, firstPassword)
	eventually(t, "both have ended", time.Minute, func() bool { return len(app.ends()) >= 1 && len(jobs.ends()) >= 1 })
	w.looks(t, 2)
	if a, b := len(app.ends()), len(jobs.ends()); a != 1 || b != 1 {
		t.Errorf("%d and %d containers ended, want backend and worker once each", a, b)
	}
	w.on.untouched(t, map[string]*inspected{w.db: before[w.db]})
	w.inOrder(t, append(app.all(), jobs.all()...))
	w.refused(t)
	w.quiet(t, firstPassword, secondPassword, thirdPassword)
}

// inOrder: the role was altered, then the backend got the password and was healthy with it,
// and only then the worker of the other stack ended.
func (w *rotationWorld) inOrder(t *testing.T, list []event) {
	t.Helper()
	var altered, started, healthy, ended int64
	alters, backend := "", service(w.status(), w.backend).ID
	for _, e := range list {
		of := e.Actor.Attributes["name"]
		well := e.Action == "exec_die" && e.Actor.Attributes["exitCode"] == "0"
		switch {
		case of == w.db && strings.HasPrefix(e.Action, "exec_start") && strings.Contains(e.Action, "password"):
			alters = e.Actor.Attributes["execID"]
		case well && altered == 0 && alters != "" && e.Actor.Attributes["execID"] == alters:
			altered = e.TimeNano
		case e.Actor.ID == backend && e.Action == "start":
			started = e.TimeNano
		case e.Actor.ID == backend && well && healthy == 0:
			healthy = e.TimeNano
		case strings.Contains(of, "worker") && e.Action == "die":
			ended = e.TimeNano
		}
	}
	times := []int64{altered, started, healthy, ended}
	if slices.Contains(times, 0) || !slices.IsSorted(times) {
		t.Errorf("role altered, backend started and healthy, worker ended: want this order, got %v", times)
	}
}

// refused: without a command nothing is done, by this agent or the next, and what has to be
// made anew gets the old password.
func (w *rotationWorld) refused(t *testing.T) {
	t.Helper()
	before := w.on.snapshot(t, w.db, w.backend, w.worker)
	w.change(func() { w.rotation("") })
	w.set(t, "db_password", thirdPassword)
	refused := func(st api.NodeStatus) bool { return len(conditions(st, api.ReasonRotationRefused)) >= 2 }
	st := w.await("the refusal is told", time.Minute, refused)
	names(t, fmt.Sprint(conditions(st, api.ReasonRotationRefused)), `service "db"`, "POSTGRES_PASSWORD", "services.db.rotation", "stack.yaml")
	w.looks(t, 2)
	w.on.untouched(t, before)
	w.restart()
	w.await("the next agent refuses too", time.Minute, refused)
	w.on.untouched(t, before)
	w.on.remove(t, w.worker)
	w.await("the worker is back", time.Minute, func(st api.NodeStatus) bool {
		svc := service(st, w.worker)
		return svc.Converged && svc.ID != before[w.worker].ID
	})
	w.set(t, "db_password", secondPassword)
	w.await("the old password is back", time.Minute, allConverged)
	delete(before, w.worker)
	w.on.untouched(t, before)
	w.accepts(t, secondPassword, thirdPassword)
}

// quiet: no password stands in what agent and database say, or on the agent's disk.
func (w *rotationWorld) quiet(t *testing.T, passwords ...string) {
	t.Helper()
	said := map[string]string{"log of the agent": w.log.String(), "log of the database": w.on.logs(t, w.db)}
	for _, path := range []string{"/v1/status", "/v1/events", "/v1/plan", "/metrics"} {
		_, body, err := w.ask(http.MethodGet, path)
		if err != nil {
			t.Fatal(err)
		}
		said[path] = string(body)
	}
	said["memory of the agent"] = readFile(t, filepath.Join(w.state, "state.db"))
	for what, text := range said {
		for _, password := range passwords {
			if strings.Contains(text, password) {
				t.Errorf("%s has %s", what, password)
			}
		}
	}
}
