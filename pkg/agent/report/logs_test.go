package report_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/telemetry"
)

func (b *backend) Logs(ctx context.Context, q report.LogQuery, emit func(report.LogLine)) error {
	if b.logs == nil {
		return b.fail
	}
	return b.logs(ctx, q, emit)
}

// TestLogs: the query arrives as it was written, and lines are told one by one.
func TestLogs(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 5, time.UTC)
	line := report.LogLine{Time: at, Stack: "core", Service: "db", Container: "core-db-1", Stream: "stderr", Text: "a \x00 b"}
	var got report.LogQuery
	b := &backend{logs: func(_ context.Context, q report.LogQuery, emit func(report.LogLine)) error {
		got = q
		emit(line)
		return nil
	}}
	for query, want := range map[string]report.LogQuery{
		"stack=core": {Stack: "core", Tail: 100},
		"stack=core&services=db,web&tail=-1&since=2026-01-31T12:00:00.5Z&follow=true": {
			Stack: "core", Services: []string{"db", "web"}, Tail: -1, Since: time.Date(2026, 1, 31, 12, 0, 0, 5e8, time.UTC), Follow: true,
		},
	} {
		w := httptest.NewRecorder()
		ready().Handler(b).ServeHTTP(w, request("GET", "/v1/logs?"+query, ""))
		var told report.LogLine
		if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil || w.Code != 200 || w.Header().Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%s: %d %v %s", query, w.Code, err, w.Body)
		}
		if diff := cmp.Diff(want, got) + cmp.Diff(line, told); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
	b.logs = nil
	b.fail = errors.New("the engine went away")
	w := httptest.NewRecorder()
	ready().Handler(b).ServeHTTP(w, request("GET", "/v1/logs?stack=core", ""))
	if want := `{"error":"the engine went away","reason":"EngineError"}` + "\n"; w.Code != 200 || w.Body.String() != want {
		t.Errorf("a failure: %d %s", w.Code, w.Body)
	}
}

func TestLogRefusals(t *testing.T) {
	b := &backend{logs: func(context.Context, report.LogQuery, func(report.LogLine)) error {
		t.Error("logs are read")
		return nil
	}}
	for query, field := range map[string]string{
		"": "stack", "stack=none": "stack", "stack=core&tail=10001": "tail", "stack=core&tail=-2": "tail", "stack=core&since=10m": "since",
		"stack=core&follow=yes": "follow", "stack=core&services=a,": "services", "stack=core&node=b": "node", "stack=core&stack=core": "stack",
	} {
		w := httptest.NewRecorder()
		ready().Handler(b).ServeHTTP(w, request("GET", "/v1/logs?"+query, ""))
		if got := refused(t, w); w.Code < 400 || w.Code > 404 || got.Field != field {
			t.Errorf("%q: %d %+v", query, w.Code, got)
		}
	}
	w := httptest.NewRecorder()
	ready().ReadHandler(b).ServeHTTP(w, request("GET", "/v1/logs?stack=core", ""))
	if got := refused(t, w); w.Code != http.StatusForbidden || !strings.Contains(got.Error, "Unix socket") {
		t.Errorf("on TCP: %d %+v", w.Code, got)
	}
}

// TestLogsFollow reads over a real socket: lines come while the request goes on, a reader that
// goes away ends the reading, and there is a limit of readers.
func TestLogsFollow(t *testing.T) {
	ended := make(chan struct{}, 100)
	b := &backend{logs: func(ctx context.Context, _ report.LogQuery, emit func(report.LogLine)) error {
		defer func() { ended <- struct{}{} }()
		emit(report.LogLine{Text: "now"})
		<-ctx.Done()
		return nil
	}}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := telemetry.ListenUnix(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- telemetry.Serve(ctx, l, ready().Handler(b)) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	follow := func(ctx context.Context) *http.Response {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/v1/logs?stack=core&follow=true", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	leave, cancel := context.WithCancel(t.Context())
	for range 16 {
		resp := follow(leave)
		if text, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || !strings.Contains(text, `"text":"now"`) {
			t.Errorf("%q, %v", text, err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
	}
	resp := follow(t.Context())
	if resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("one more reader: %d", resp.StatusCode)
	}
	_ = resp.Body.Close()
	cancel()
	for range 16 {
		<-ended
	}
	resp = follow(t.Context())
	if resp.StatusCode != http.StatusOK {
		t.Errorf("after the others went: %d", resp.StatusCode)
	}
	stop()
	<-ended
	_ = resp.Body.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
