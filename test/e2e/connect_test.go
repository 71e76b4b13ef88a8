package e2e_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/connect"
)

const vaultOfUser, itemOfUser = "KTRDR Homelab Secrets", "ktrdr-homelab-core"

// connectWorld is an agent whose secrets come from a stand-in Connect server.
type connectWorld struct {
	*agent
	server      *connect.Server
	web         *httptest.Server
	vault, item string
	token       string
}

func newConnectWorld(t *testing.T) *connectWorld {
	t.Helper()
	const vault = "op://" + vaultOfUser + "/" + itemOfUser + "/"
	w := &connectWorld{agent: newAgent(t, `
services:
  api:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "api"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment: {DB_URL: "postgres://${DB_USER}:${DB_PASSWORD}@db/ktrdr", JWT_SECRET: "${JWT_SECRET}"}
  worker:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "worker"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment: {DB_PASSWORD: "${DB_PASSWORD}"}
  other:
    image: ktrdr-demo:1
    command: ["http", "--port", "8082", "--name", "other"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment: {TOKEN: "${GRAFANA}"}
`, `
variables:
  DB_USER: `+vault+`db_username
  DB_PASSWORD: `+vault+`db_password
  JWT_SECRET: `+vault+`jwt_secret
  GRAFANA: `+vault+`grafana_password
`)}
	var err error
	if w.server, err = connect.New(); err != nil {
		t.Fatal(err)
	}
	w.vault = w.server.AddVault(connect.Vault{Name: vaultOfUser})
	w.item, err = w.server.AddItem(w.vault, connect.Item{Title: itemOfUser, Fields: []connect.Field{
		{Label: "db_username", Type: "STRING", Value: "ktrdr"},
		{Label: "db_password", Value: "first-db-password-5d1"},
		{Label: "jwt_secret", Value: "jwt-secret-value-88e"},
		{Label: "grafana_password", Value: "grafana-password-13c"},
		{Label: "ghcr_token", Value: "ghcr-token-value-77a"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.server.SetQuirks(func(q *connect.Quirks) { q.AddMore, q.FalseUnauthorized = true, 1 })
	w.web = httptest.NewServer(w.server)
	t.Cleanup(w.web.Close)
	w.token = filepath.Join(w.home, "token")
	w.grant(t, 100*24*time.Hour)
	w.extra = []string{"secrets: {connect: {url: '" + w.web.URL + "', tokenFile: " + w.token + "}, refresh: 1s}"}
	return w
}

func (w *connectWorld) grant(t *testing.T, good time.Duration) {
	t.Helper()
	token, err := w.server.Issue(connect.Grant{Vaults: []string{w.vault}, Expires: time.Now().Add(good)})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, w.token, token, 0o600)
}

func (w *connectWorld) set(t *testing.T, label, value string) {
	t.Helper()
	err := w.server.Edit(w.vault, w.item, func(it *connect.Item) {
		for i := range it.Fields {
			if it.Fields[i].Label == label {
				it.Fields[i].Value = value
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// looks waits until the agent asked the server n times more.
func (w *connectWorld) looks(t *testing.T, n int) {
	t.Helper()
	const list = "GET /v1/vaults"
	from := w.server.Counts()[list]
	eventually(t, "the agent looks at its secrets", time.Minute, func() bool { return w.server.Counts()[list] >= from+n })
}

// TestConnect is acceptance scenario 5 and what SECRETS says about restarts: whatever
// Connect does, nothing is touched; a real change replaces the consumers once.
func TestConnect(t *testing.T) {
	w := newConnectWorld(t)
	w.start()
	w.converged()
	all := []string{w.name("api"), w.name("worker"), w.name("other")}
	before := w.on.snapshot(t, all...)

	var second string
	for what, trouble := range map[string]func(){
		"a tag":   func() { _ = w.server.Edit(w.vault, w.item, func(it *connect.Item) { it.Tags = append(it.Tags, "x") }) },
		"403":     func() { w.server.SetQuirks(func(q *connect.Quirks) { q.Status = 403 }) },
		"404":     func() { w.server.SetQuirks(func(q *connect.Quirks) { q.Status = 404 }) },
		"500":     func() { w.server.SetQuirks(func(q *connect.Quirks) { q.Syncing = true }) },
		"a page":  func() { w.server.SetQuirks(func(q *connect.Quirks) { q.HTML = 200 }) },
		"garbage": func() { w.server.SetQuirks(func(q *connect.Quirks) { q.Garbage = "[]" }) },
		"empty":   func() { w.set(t, "db_password", "") },
		"a title": func() { _ = w.server.Edit(w.vault, w.item, func(it *connect.Item) { it.Title = "other" }) },
		"twice": func() {
			second, _ = w.server.AddItem(w.vault, connect.Item{Title: itemOfUser, Fields: []connect.Field{{Label: "db_password", Value: "of-another-item-2"}}})
		},
		"revoked": func() { writeFile(t, w.token, "a.b.c", 0o600) },
	} {
		trouble()
		if what != "a tag" {
			w.await(what+" is told", time.Minute, func(st api.NodeStatus) bool { return len(conditions(st, api.ReasonSecretsStale)) > 0 })
		}
		w.looks(t, 2)
		w.on.untouched(t, before)
		w.server.RemoveItem(w.vault, second)
		w.server.SetQuirks(func(q *connect.Quirks) { *q = connect.Quirks{AddMore: true} })
		_ = w.server.Edit(w.vault, w.item, func(it *connect.Item) { it.Title = itemOfUser })
		w.set(t, "db_password", "first-db-password-5d1")
		w.grant(t, 100*24*time.Hour)
		w.await(what+" is over", time.Minute, func(st api.NodeStatus) bool {
			return len(st.Conditions) == 0 && allConverged(st)
		})
		w.on.untouched(t, before)
	}
	w.rotated(t, before)
	w.downAcrossRestart(t, all)
}

func (w *connectWorld) rotated(t *testing.T, before map[string]*inspected) {
	t.Helper()
	events := w.on.hear(t, w.project)
	w.set(t, "db_password", "second-db-password-a2")
	w.await("rotated", time.Minute, func(st api.NodeStatus) bool {
		return allConverged(st) && service(st, w.name("api")).ID != before[w.name("api")].ID && service(st, w.name("worker")).ID != before[w.name("worker")].ID
	})
	eventually(t, "both have ended", time.Minute, func() bool { return len(events.ends()) >= 2 })
	w.looks(t, 2)
	if got := len(events.ends()); got != 2 {
		t.Errorf("%d containers ended, want the two that use the value, once each", got)
	}
	if !w.on.must(t, w.name("other")).same(before[w.name("other")]) {
		t.Error("a container that does not use the value was touched")
	}
}

// downAcrossRestart: without Connect after a restart, what runs runs on and the status says so.
func (w *connectWorld) downAcrossRestart(t *testing.T, all []string) {
	t.Helper()
	before := w.on.snapshot(t, all...)
	w.stop()
	w.server.SetQuirks(func(q *connect.Quirks) { q.HTML, q.Echo = 502, "second-db-password-a2" })
	w.start()
	st := w.await("the outage is told", time.Minute, func(st api.NodeStatus) bool {
		return len(conditions(st, api.ReasonSecretsStale)) > 0 && len(st.SecretProviders) == 1 && !st.SecretProviders[0].Reachable && st.SecretProviders[0].FailedRequests > 0
	})
	if p := st.SecretProviders[0]; p.Name != "connect" || p.Reason != api.ReasonProviderDown || !strings.Contains(p.Message, "(502)") {
		t.Errorf("provider %+v", p)
	}
	w.looks(t, 3)
	w.on.untouched(t, before)
	w.grant(t, 5*24*time.Hour)
	w.server.SetQuirks(func(q *connect.Quirks) { *q = connect.Quirks{} })
	st = w.await("back", time.Minute, func(st api.NodeStatus) bool {
		return allConverged(st) && len(st.Conditions) == 1
	})
	w.on.untouched(t, before)
	if c := st.Conditions[0]; c.Type != api.ConditionWarning || c.Reason != api.ReasonTokenExpiring {
		t.Errorf("a token with 5 days gave %+v", c)
	}
	values := []string{"first-db-password-5d1", "second-db-password-a2", "jwt-secret-value-88e", "grafana-password-13c", "ghcr-token-value-77a", "of-another-item-2"}
	for _, path := range []string{"/v1/status", "/v1/events", "/v1/plan", "/metrics"} {
		_, body, err := w.ask(http.MethodGet, path)
		if err != nil {
			t.Fatal(err)
		}
		leak(t, path, string(body), values)
	}
	leak(t, "the log", w.log.String(), values)
}
