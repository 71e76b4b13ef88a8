package e2e_test

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// TestSecretRules is acceptance scenario 3: a secret that is missing, empty or shorter
// than its rule allows changes nothing; field and rule are named, the value never is.
func TestSecretRules(t *testing.T) {
	a := newAgent(t, `
services:
  api:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "api"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment:
      DB_PASSWORD: ${DB_PASSWORD}
      DB_URL: postgres://app:${DB_PASSWORD}@db/app
      JWT_SECRET: ${JWT_SECRET}
  plain:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "plain"]
    restart: unless-stopped
    healthcheck: {disable: true}
`, `
variables:
  DB_PASSWORD: op://e2e/core/db_password
  JWT_SECRET: op://e2e/core/jwt_secret
contract:
  - name: DB_PASSWORD
  - {name: JWT_SECRET, minLength: 32}
`)
	const pass, long, longer, short = "first-db-pass-83", "a-secret-of-more-than-32-characters-1", "a-secret-of-more-than-32-characters-2", "short-jwt-42"
	file := filepath.Join(a.home, "secrets.env")
	secrets := func(db, jwt string) { writeFile(t, file, "DB_PASSWORD="+db+"\nJWT_SECRET="+jwt+"\n", 0o600) }
	a.extra = []string{"secrets: {dotenv: {file: " + file + "}, refresh: 1s}"}

	secrets(pass, short)
	a.start()
	st := a.await("refused on the first start", time.Minute, func(st api.NodeStatus) bool {
		return service(st, a.name("plain")).Converged && service(st, a.name("api")).Reason == api.ReasonSecretInvalid
	})
	names(t, service(st, a.name("api")).Message, "JWT_SECRET", "32")
	if a.on.container(t, a.name("api")) != nil {
		t.Error("a container was made although its secret breaks the contract")
	}
	secrets(pass, long)
	a.converged()
	if env := a.on.environ(t, a.name("api")); env["DB_URL"] != "postgres://app:"+pass+"@db/app" {
		t.Errorf("the secret did not arrive: %d variables", len(env))
	}
	before := a.on.snapshot(t, a.name("api"), a.name("plain"))

	for what, c := range map[string]struct {
		db, jwt string
		told    api.Reason
		names   []string
	}{
		"short":   {pass, short, api.ReasonSecretInvalid, []string{"JWT_SECRET", "32"}},
		"empty":   {"", long, api.ReasonSecretsStale, []string{"db_password"}},
		"missing": {"", "", api.ReasonSecretsStale, []string{"db_password", "jwt_secret"}},
	} {
		secrets(c.db, c.jwt)
		if what == "missing" {
			writeFile(t, file, "OTHER=1\n", 0o600)
		}
		a.await(what+" is told", time.Minute, func(st api.NodeStatus) bool {
			found := conditions(st, c.told)
			return len(found) > 0 && !slices.ContainsFunc(c.names, func(w string) bool { return !strings.Contains(found[0].Message, w) })
		})
		during(t, what+": nothing is touched", 2*time.Second, func() bool { return true })
		a.on.untouched(t, before)
		secrets(pass, long)
		a.converged()
	}

	a.stop()
	secrets("", long)
	a.start()
	st = a.await("missing after a restart", time.Minute, func(st api.NodeStatus) bool {
		return service(st, a.name("api")).Reason == api.ReasonSecretMissing
	})
	names(t, service(st, a.name("api")).Message, "db_password")
	a.on.untouched(t, before)
	secrets(pass, longer)
	a.await("rotated", time.Minute, func(st api.NodeStatus) bool {
		return allConverged(st) && service(st, a.name("api")).ID != before[a.name("api")].ID
	})
	if !a.on.must(t, a.name("plain")).same(before[a.name("plain")]) {
		t.Error("a rotated secret touched a service that does not use it")
	}
	values := []string{pass, long, longer, short}
	for _, path := range []string{"/v1/status", "/v1/events", "/v1/plan", "/metrics"} {
		_, body, err := a.ask(http.MethodGet, path)
		if err != nil {
			t.Fatal(err)
		}
		leak(t, path, string(body), values)
	}
	leak(t, "the log", a.log.String(), values)
}

// names fails the test when a message leaves a word out.
func names(t testing.TB, message string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(message, w) {
			t.Errorf("%q does not name %s", message, w)
		}
	}
}
