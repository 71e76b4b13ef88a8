package report_test

import (
	"log/slog"
	"net/http/httptest"
	"testing"

	"ktrdr.io/fleet/pkg/agent/report"
)

func TestSource(t *testing.T) {
	r := report.New(report.Config{Node: "b", Log: slog.New(slog.DiscardHandler), Source: report.Source{Kind: "git", URL: "https://git.example/s.git", Branch: "main"}})
	w := httptest.NewRecorder()
	r.ReadHandler(&backend{}).ServeHTTP(w, request("GET", "/v1/source", ""))
	if want := `{"kind":"git","url":"https://git.example/s.git","branch":"main"}`; w.Code != 200 || w.Body.String() != want+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
