package e2e_test

import (
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/port"
)

// TestDoctor: the report on a real engine and a registry with a login, with and without
// what it should find. It changes nothing.
func TestDoctor(t *testing.T) {
	a := newAgent(t, "", "")
	r := newRegistry(t)
	r.push(t, a.on, "1")
	r.tag(t, a.on, r.host+"/e2e/web", "1")
	a.write("fleet.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: e2e}\nspec:\n  registries:\n"+
		"  - {host: '"+r.host+"', username: "+registryUser+", password: 'op://e2e/registry/password'}\n")
	secrets := filepath.Join(a.home, "secrets.env")
	writeFile(t, secrets, "REGISTRY_PASSWORD="+registryPass+"\n", 0o600)
	a.extra = []string{"secrets: {dotenv: {file: " + secrets + "}, refresh: 1s}"}
	port := freePort(t)
	a.compose(`
services:
  web:
    image: ` + r.host + `/e2e/web:1
    command: ["http", "--port", "8080", "--name", "web"]
    healthcheck: {disable: true}
    ports: ["127.0.0.1:` + port + `:8080"]
    environment: {API_URL: "http://no-such-host.invalid:8000/"}
`)
	a.start()
	a.converged()
	before := a.on.snapshot(t, a.name("web"))

	rows := a.doctor("?canary=true")
	for name, subject := range map[string]string{
		"engine-reachable": "", "engine-version": "", "storage-driver": a.on.dataRoot(t), "canary": "container", "delivery": "", "secret-provider": "dotenv",
		"secret": "", "ports": "", "source": "", "image": r.host + "/e2e/web:1",
	} {
		if c := checkOf(t, rows, name, subject); c.Result != api.CheckOK {
			t.Errorf("%s %s: %s: %s", name, subject, c.Result, c.Message)
		}
	}
	if c := checkOf(t, rows, "image", r.host+"/e2e/web:1"); !strings.Contains(c.Message, "sha256:") {
		t.Errorf("the digest of the registry is not told: %s", c.Message)
	}
	if c := checkOf(t, rows, "dns", "no-such-host.invalid"); c.Result != api.CheckFail || !strings.Contains(c.Message, "app/web") {
		t.Errorf("a name that does not resolve: %+v", c)
	}
	a.on.untouched(t, before)
	for _, left := range []string{"ktrdr-doctor-canary"} {
		if a.on.container(t, left) != nil {
			t.Errorf("%s was left behind", left)
		}
	}

	writeFile(t, secrets, "REGISTRY_PASSWORD=wrong-password-77\n", 0o600)
	if c := checkOf(t, a.doctor(""), "image", r.host+"/e2e/web:1"); c.Result != api.CheckWarn || c.Fix == "" {
		t.Errorf("a login that is refused: %+v", c)
	}
	writeFile(t, secrets, "OTHER=1\n", 0o600)
	if c := checkOf(t, a.doctor(""), "secret", "op://e2e/registry/password"); c.Result == api.CheckOK {
		t.Errorf("a reference without a value: %+v", c)
	}
	leak(t, "the log", a.log.String(), []string{registryPass, "wrong-password-77"})
}

// doctor asks the agent for its report.
func (a *agent) doctor(query string) []api.Check {
	a.t.Helper()
	code, body, err := a.askFor(2*time.Minute, http.MethodPost, "/v1/doctor"+query)
	if err != nil || code != http.StatusOK {
		a.t.Fatalf("doctor: %d %s %v", code, body, err)
	}
	leak(a.t, "the report", string(body), []string{registryPass, "wrong-password-77"})
	var rows []api.Check
	for line := range strings.Lines(string(body)) {
		var c api.Check
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			a.t.Fatalf("%v in %s", err, line)
		}
		rows = append(rows, c)
	}
	return rows
}

// freePort is a port of loopback that nobody has, and that nobody gets by chance.
func freePort(t *testing.T) string {
	t.Helper()
	_, number, err := net.SplitHostPort(port.Reserve(t))
	if err != nil {
		t.Fatal(err)
	}
	return number
}

func checkOf(t *testing.T, rows []api.Check, name, subject string) api.Check {
	t.Helper()
	i := slices.IndexFunc(rows, func(c api.Check) bool { return c.Name == name && (subject == "" || c.Subject == subject) })
	if i < 0 {
		t.Fatalf("no row %s %q in %+v", name, subject, rows)
	}
	return rows[i]
}
