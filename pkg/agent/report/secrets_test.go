package report_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/api"
)

func TestSecrets(t *testing.T) {
	want := api.SecretsStatus{
		Node: "b", Time: time.Unix(5000, 0).UTC(), Providers: []api.ProviderState{{Name: "connect", Schemes: []string{"op"}, Reachable: true}},
		Secrets: []api.SecretStatus{
			{Reference: "op://v/i/f", Provider: "connect", Phase: api.SecretFresh, Generation: 3, Users: []api.SecretUser{{Stack: "core", Service: "db"}}},
			{Reference: "op://v/i/g", Provider: "connect", Phase: api.SecretStale, Generation: 1, Reason: api.ReasonSecretsStale, Message: "down", Users: []api.SecretUser{{Registry: "ghcr.io"}}},
			{Reference: "op://v/i/h", Phase: api.SecretDenied, Reason: api.ReasonPolicyViolation, Users: []api.SecretUser{{Stack: "core", Service: "db"}}},
		},
	}
	r := report.New(report.Config{Node: "b", Log: slog.New(slog.DiscardHandler), Secrets: func() api.SecretsStatus { return want }})
	ask := func(h http.Handler, method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request(method, path, ""))
		return w
	}
	w := ask(r.Handler(&backend{}), "GET", "/v1/secrets")
	var got api.SecretsStatus
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v %s", w.Code, err, w.Body)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if w := ask(r.Handler(&backend{}), "GET", "/v1/secrets?value=1"); w.Code != http.StatusBadRequest {
		t.Errorf("an unknown parameter gave %d", w.Code)
	}
	if w := ask(r.Handler(&backend{}), "POST", "/v1/secrets"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST gave %d", w.Code)
	}
	if w := ask(r.ReadHandler(&backend{}), "GET", "/v1/secrets"); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "op://") {
		t.Errorf("the address for reading answers %d %s", w.Code, w.Body)
	}
	text := "\n" + get(t, r, "/metrics").Body.String()
	for _, want := range []string{`ktrdr_secrets{phase="ok"} 1`, `ktrdr_secrets{phase="stale"} 1`, `ktrdr_secrets{phase="missing"} 0`, `ktrdr_secrets{phase="denied"} 1`} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	if strings.Contains(text, "op://") {
		t.Error("the metrics name references")
	}
	none := report.New(report.Config{Node: "b", Log: slog.New(slog.DiscardHandler)})
	if w := ask(none.Handler(&backend{}), "GET", "/v1/secrets"); strings.TrimSpace(w.Body.String()) == "" || strings.Contains(w.Body.String(), "null") {
		t.Errorf("without secrets: %s", w.Body)
	}
}
