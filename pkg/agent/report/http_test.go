package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/telemetry"
)

// backend notes what it is asked for.
type backend struct {
	alive error
	fail  error
	syncs int
	holds map[string]*api.Hold
	tree  func(ctx context.Context, dir string) ([]*plan.Plan, error)
	logs  func(ctx context.Context, q report.LogQuery, emit func(report.LogLine)) error
}

func (b *backend) Alive() error { return b.alive }

func (b *backend) Sync(context.Context) error {
	b.syncs++
	return b.fail
}

func (b *backend) Hold(stack string, h *api.Hold) error {
	if b.holds == nil {
		b.holds = map[string]*api.Hold{}
	}
	b.holds[stack] = h
	return b.fail
}

func (b *backend) Doctor(_ context.Context, req report.DoctorRequest, emit func(api.Check)) error {
	if b.fail != nil && req.Dir != "" {
		return b.fail
	}
	emit(api.Check{Name: "engine-version", Result: api.CheckOK, Message: "28.5.2"})
	emit(api.Check{Name: "canary", Result: api.CheckSkip, Message: fmt.Sprint(req.Canary)})
	return b.fail
}

func (b *backend) PlanTree(ctx context.Context, dir string) ([]*plan.Plan, error) {
	if b.tree == nil {
		return []*plan.Plan{{Stack: "core", Revision: "local", Ops: []plan.Op{}}}, nil
	}
	return b.tree(ctx, dir)
}

func request(method, target, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "localhost:9180"
	if strings.HasPrefix(body, "{") {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

func get(t *testing.T, r *report.Report, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r.ReadHandler(&backend{}).ServeHTTP(w, request("GET", path, ""))
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	return w
}

// refusal is the body of an answer that is no success.
type refusal struct{ Error, Reason, Field string }

func refused(t *testing.T, w *httptest.ResponseRecorder) refusal {
	t.Helper()
	var got refusal
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil || got.Error == "" || got.Reason == "" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("the answer %d is not as all refusals are: %v", w.Code, err)
	}
	return got
}

func ready() *report.Report {
	r := newReport()
	r.SetEngine(api.Engine{Reachable: true})
	r.SetDesired(desired("r1", "core"), time.Time{})
	r.Planned("core", planned("r1", api.ReasonConverged), 0)
	return r
}

// TestRefusals sends what must be refused, to the handler that answers everything.
func TestRefusals(t *testing.T) {
	long := strings.Repeat("x", 501)
	for _, c := range []struct {
		method, target, body string
		code                 int
		reason, field        string
	}{
		{"GET", "/", "", 404, "NotFound", ""},
		{"GET", "/v1/status/", "", 404, "NotFound", ""},
		{"GET", "/v1/../v1/status", "", 404, "NotFound", ""},
		{"POST", "/v1/status", "", 405, "MethodNotAllowed", ""},
		{"DELETE", "/v1/plan", "", 405, "MethodNotAllowed", ""},
		{"GET", "/v1/hold", "", 405, "MethodNotAllowed", ""},
		{"BREW", "/healthz", "", 405, "MethodNotAllowed", ""},
		{"GET", "/v1/status?verbose=1", "", 400, "BadRequest", "verbose"},
		{"GET", "/healthz?x", "", 400, "BadRequest", "x"},
		{"GET", "/v1/plan?stack=core&stack=x", "", 400, "BadRequest", "stack"},
		{"GET", "/v1/plan?stack=nope", "", 404, "NotFound", "stack"},
		{"GET", "/v1/events?after=-1", "", 400, "BadRequest", "after"},
		{"GET", "/v1/events?after=99999999999999999999", "", 400, "BadRequest", "after"},
		{"GET", "/v1/events?wait=soon", "", 400, "BadRequest", "wait"},
		{"GET", "/v1/events?wait=61s", "", 400, "BadRequest", "wait"},
		{"GET", "/v1/events?wait=-1s", "", 400, "BadRequest", "wait"},
		{"GET", "/v1/events?limit=0", "", 400, "BadRequest", "limit"},
		{"GET", "/v1/events?limit=1001", "", 400, "BadRequest", "limit"},
		{"GET", "/v1/events?after=" + strings.Repeat("1", 5000), "", 400, "BadRequest", ""},
		{"POST", "/v1/sync?now=1", "", 400, "BadRequest", "now"},
		{"POST", "/v1/hold", "", 415, "UnsupportedMediaType", "Content-Type"},
		{"POST", "/v1/hold", "{", 400, "BadRequest", ""},
		{"POST", "/v1/hold", `{"stack":"core","why":"x"} {}`, 400, "BadRequest", ""},
		{"POST", "/v1/hold", `{"stack":"core","why":"x","until":"x"}`, 400, "BadRequest", "until"},
		{"POST", "/v1/hold", `{"stack":1}`, 400, "BadRequest", "stack"},
		{"POST", "/v1/hold", `{"stack":"core"}`, 400, "BadRequest", "why"},
		{"POST", "/v1/hold", `{"stack":"core","why":"  "}`, 400, "BadRequest", "why"},
		{"POST", "/v1/hold", `{"stack":"core","why":"` + long + `"}`, 400, "BadRequest", "why"},
		{"POST", "/v1/hold", `{"stack":"core","why":"x","who":"` + long + `"}`, 400, "BadRequest", "who"},
		{"POST", "/v1/hold", `{"stack":"core","why":"x","for":"2 hours"}`, 400, "BadRequest", "for"},
		{"POST", "/v1/hold", `{"stack":"core","why":"x","for":"-2h"}`, 400, "BadRequest", "for"},
		{"POST", "/v1/hold", `{"stack":"core","why":"x","for":"9000h"}`, 400, "BadRequest", "for"},
		{"POST", "/v1/hold", `{"stack":"nope","why":"x"}`, 404, "NotFound", "stack"},
		{"POST", "/v1/hold", `{"stack":"` + strings.Repeat("x", 70<<10) + `"}`, 413, "TooLarge", ""},
		{"POST", "/v1/resume", `{"stack":""}`, 404, "NotFound", "stack"},
		{"POST", "/v1/resume", `{"stack":"core","why":"x"}`, 400, "BadRequest", "why"},
		{"POST", "/v1/plan", "", 415, "UnsupportedMediaType", "Content-Type"},
		{"POST", "/v1/plan?node=x", "", 400, "BadRequest", "node"},
	} {
		b := &backend{}
		w := httptest.NewRecorder()
		ready().Handler(b).ServeHTTP(w, request(c.method, c.target, c.body))
		got := refused(t, w)
		if w.Code != c.code || got.Reason != c.reason || got.Field != c.field {
			t.Errorf("%s %.60s %.60s: %d %+v, want %d %s %q", c.method, c.target, c.body, w.Code, got, c.code, c.reason, c.field)
		}
		if b.syncs != 0 || b.holds != nil {
			t.Errorf("%s %.60s reached the backend", c.method, c.target)
		}
		if c.code == 405 && w.Header().Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.target)
		}
	}
}

func TestReads(t *testing.T) {
	r := ready()
	for path, want := range map[string]string{
		"/healthz":            `{"status":"ok"}`,
		"/readyz":             `{"status":"ready"}`,
		"/v1/status":          `"node":"b"`,
		"/v1/plan":            `[{"stack":"core","revision":"r1"`,
		"/v1/plan?stack=core": `[{"stack":"core","revision":"r1"`,
		"/v1/events":          `"message":"desired state accepted: revision r1"`,
		"/v1/events?limit=1":  `"message":"desired state accepted: revision r1"`,
		"/v1/version":         `{"version":"dev","commit":"","go":"go1.`,
		"/metrics":            "ktrdr_stack_converged",
	} {
		w := get(t, r, path)
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: no %s in %s", path, want, w.Body)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no nosniff", path)
		}
		head := httptest.NewRecorder()
		r.ReadHandler(&backend{}).ServeHTTP(head, request("HEAD", path, ""))
		if head.Code != http.StatusOK {
			t.Errorf("HEAD %s: %d", path, head.Code)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	r := newReport()
	b := &backend{alive: errors.New("the loop hangs")}
	h := r.ReadHandler(b)
	ask := func(path string, code int, text string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request("GET", path, ""))
		if got := refused(t, w); w.Code != code || !strings.Contains(got.Error, text) {
			t.Errorf("%s: %d %q", path, w.Code, got.Error)
		}
	}
	ask("/healthz", 503, "the loop hangs")
	ask("/readyz", 503, "the engine has not answered yet; no valid desired state was accepted yet")
	r.SetEngine(api.Engine{Reachable: true})
	ask("/readyz", 503, "no valid desired state was accepted yet")
	r.SetDesired(desired("r1"), time.Time{})
	get(t, r, "/readyz")
}

func TestWrites(t *testing.T) {
	r, b := ready(), &backend{}
	h := r.Handler(b)
	post := func(path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request("POST", path, body))
		return w
	}
	if w := post("/v1/sync", ""); w.Code != 202 || b.syncs != 1 {
		t.Errorf("sync: %d %s", w.Code, w.Body)
	}
	if w := post("/v1/hold", `{"stack":"core","why":" works ","who":"me","for":"2h"}`); w.Code != 200 {
		t.Errorf("hold: %d %s", w.Code, w.Body)
	}
	got := *b.holds["core"]
	if length := got.Until.Sub(got.Since); length != 2*time.Hour || got.Why != "works" || got.Who != "me" || time.Since(got.Since) > time.Minute {
		t.Errorf("held %+v", got)
	}
	if w := post("/v1/hold", `{"stack":"core","why":"works"}`); w.Code != 200 || !b.holds["core"].Until.IsZero() {
		t.Errorf("hold without end: %d %+v", w.Code, b.holds["core"])
	}
	if w := post("/v1/resume", `{"stack":"core"}`); w.Code != 200 || b.holds["core"] != nil {
		t.Errorf("resume: %d", w.Code)
	}
	b.fail = errors.New("disk full")
	for path, body := range map[string]string{"/v1/sync": "", "/v1/hold": `{"stack":"core","why":"x"}`, "/v1/resume": `{"stack":"core"}`} {
		w := post(path, body)
		if got := refused(t, w); w.Code != 500 || !strings.HasSuffix(got.Error, "disk full") {
			t.Errorf("%s: %d %+v", path, w.Code, got)
		}
	}
}

func TestReadHandlerChangesNothing(t *testing.T) {
	b := &backend{tree: func(context.Context, string) ([]*plan.Plan, error) { return nil, errors.New("planned") }}
	h := ready().ReadHandler(b)
	for path, body := range map[string]string{
		"/v1/hold": `{"stack":"core","why":"x"}`, "/v1/resume": `{"stack":"core"}`, "/v1/plan": "tar",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request("POST", path, body))
		if got := refused(t, w); w.Code != 403 || got.Reason != "Forbidden" {
			t.Errorf("%s: %d %+v", path, w.Code, got)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request("POST", "/v1/sync", ""))
	if w.Code != 202 || b.syncs != 1 || b.holds != nil {
		t.Errorf("sync: %d, %d times; holds: %v", w.Code, b.syncs, b.holds)
	}
}

// TestWebPages plays a page whose host name was made to resolve to the agent.
func TestWebPages(t *testing.T) {
	local := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 9180}
	for _, c := range []struct {
		host, header, value string
		code                int
	}{
		{"localhost:9180", "", "", 200},
		{"LOCALHOST", "", "", 200},
		{"127.0.0.1:9180", "", "", 200},
		{"[::1]:9180", "", "", 200},
		{"[::1]", "", "", 200},
		{"[::ffff:127.0.0.1]:80", "", "", 200},
		{"192.0.2.7:9180", "", "", 200}, // the listener's own
		{"B:9180", "", "", 200},         // the node
		{"192.0.2.8:9180", "", "", 403},
		{"evil.example", "", "", 403},
		{"evil.example:9180", "", "", 403},
		{"localhost.evil.example", "", "", 403},
		{"127.0.0.1.evil.example", "", "", 403},
		{"b.evil.example", "", "", 403},
		{"", "", "", 403},
		{"localhost:9180", "Origin", "http://localhost:9180", 200},
		{"localhost:9180", "Origin", "https://evil.example", 403},
		{"localhost:9180", "Origin", "null", 403},
		{"localhost:9180", "Origin", "http://[", 403},
		{"localhost:9180", "Sec-Fetch-Site", "cross-site", 403},
		{"localhost:9180", "Sec-Fetch-Site", "same-origin", 200},
	} {
		r := request("GET", "/v1/status", "")
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(local)))
		r.Host = c.host
		if c.header != "" {
			r.Header.Set(c.header, c.value)
		}
		w := httptest.NewRecorder()
		ready().Handler(&backend{}).ServeHTTP(w, r)
		if w.Code != c.code {
			t.Errorf("Host %q, %s %q: %d %s", c.host, c.header, c.value, w.Code, w.Body)
		}
	}
}

// TestUnixSocket wants any Host to do where no web page can connect to.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := telemetry.ListenUnix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- telemetry.Serve(ctx, l, ready().Handler(&backend{})) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}
	resp, err := client.Get("http://anything/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestDefectIsAnAnswer(t *testing.T) {
	var out bytes.Buffer
	r := report.New(report.Config{Node: "b", Log: slog.New(slog.NewTextHandler(&out, nil))})
	b := &backend{tree: func(context.Context, string) ([]*plan.Plan, error) { panic("oh no") }}
	w := httptest.NewRecorder()
	r.Handler(b).ServeHTTP(w, upload(t))
	got := refused(t, w)
	id := got.Error[strings.LastIndexByte(got.Error, ' ')+1:]
	if w.Code != 500 || got.Reason != "Internal" || strings.Contains(got.Error, "oh no") || len(id) != 8 {
		t.Errorf("%d %+v", w.Code, got)
	}
	if !strings.Contains(out.String(), "id="+id) || !strings.Contains(out.String(), "oh no") || !strings.Contains(out.String(), "http_test.go") {
		t.Errorf("the log does not explain %s: %s", id, out.String())
	}
}

// TestDefectTellsNoSecret: what a panic carries is redacted in the log, which alone has it.
func TestDefectTellsNoSecret(t *testing.T) {
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, "debug", "text")
	if err != nil {
		t.Fatal(err)
	}
	r := report.New(report.Config{Node: "b", Log: log})
	telemetry.SetRedactor(log, func(text string) string { return strings.ReplaceAll(text, "canary-value", "[redacted]") })
	for _, cause := range []any{"oh canary-value", errors.New("oh canary-value"), struct{ Value string }{"oh canary-value"}} {
		out.Reset()
		b := &backend{tree: func(context.Context, string) ([]*plan.Plan, error) { panic(cause) }}
		w := httptest.NewRecorder()
		r.Handler(b).ServeHTTP(w, upload(t))
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String()+out.String(), "canary-value") || !strings.Contains(out.String(), "oh [redacted]") {
			t.Errorf("%d %s %s", w.Code, w.Body, &out)
		}
	}
}

// TestLongPoll waits in vain once, and once for an event that comes.
func TestLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport()
		start := time.Now()
		if body, _ := io.ReadAll(get(t, r, "/v1/events?wait=30s").Body); string(body) != "[]\n" || time.Since(start) != 30*time.Second {
			t.Errorf("%s after %s", body, time.Since(start))
		}
		time.AfterFunc(10*time.Second, func() { r.SetMount("/m", api.MountState{Reason: api.ReasonMountMissing}) })
		start = time.Now()
		var events []api.Event
		if err := json.Unmarshal(get(t, r, "/v1/events?wait=30s").Body.Bytes(), &events); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(1, len(events)); diff != "" || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %s", events, time.Since(start))
		}
	})
}
