package telemetry_test

import (
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"ktrdr.io/fleet/pkg/telemetry"
)

func scrape(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// ours are the samples of our own metrics, without buckets and what differs from run to run.
func ours(text string) []string {
	var list []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "ktrdr_") && !strings.Contains(line, "_bucket{") && !strings.HasPrefix(line, "ktrdr_build_info") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

func fill(m *telemetry.Metrics) {
	m.Reconciled(telemetry.Stack{Name: "core", Converged: true, Took: time.Second})
	m.ConvergedAfter("core", 2*time.Second)
	m.Operated("start-container", telemetry.ResultOK, time.Second)
	m.Operated("start-container", "Transient", time.Second)
	m.DriftRepaired("start-container")
	m.EngineError("EngineTimeout")
	m.EngineUp()
	m.SourceError("SourceUnreachable")
	m.SetMount(telemetry.Mount{Path: "/mnt/a", OK: true})
	m.SetMount(telemetry.Mount{Path: "/mnt/b"})
}

func TestMetrics(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.Build{Version: "v1", Commit: "abc"})
	if got := ours(scrape(t, m)); !cmp.Equal(got, []string{"ktrdr_engine_up 0"}) {
		t.Errorf("a new agent tells %q", got)
	}
	fill(m)
	want := []string{
		`ktrdr_drift_repaired_total{kind="start-container"} 1`,
		`ktrdr_engine_errors_total{reason="EngineTimeout"} 1`,
		`ktrdr_engine_up 1`,
		`ktrdr_mount_ok{path="/mnt/a"} 1`,
		`ktrdr_mount_ok{path="/mnt/b"} 0`,
		`ktrdr_operation_duration_seconds_sum{kind="start-container"} 2`,
		`ktrdr_operation_duration_seconds_count{kind="start-container"} 2`,
		`ktrdr_operations_total{kind="start-container",result="Transient"} 1`,
		`ktrdr_operations_total{kind="start-container",result="ok"} 1`,
		`ktrdr_reconcile_duration_seconds_sum{stack="core"} 1`,
		`ktrdr_reconcile_duration_seconds_count{stack="core"} 1`,
		`ktrdr_reconcile_rounds_total{stack="core"} 1`,
		`ktrdr_source_errors_total{reason="SourceUnreachable"} 1`,
		`ktrdr_stack_converged{stack="core"} 1`,
		`ktrdr_stack_convergence_seconds_sum{stack="core"} 2`,
		`ktrdr_stack_convergence_seconds_count{stack="core"} 1`,
	}
	text := scrape(t, m)
	if diff := cmp.Diff(want, ours(text)); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes", `ktrdr_build_info{commit="abc",goversion="go`} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("no %s", name)
		}
	}
	m.EngineDown()
	m.ForgetStack("core")
	m.ForgetMount("/mnt/b")
	left := strings.Join(ours(scrape(t, m)), "\n")
	if strings.Contains(left, "core") || strings.Contains(left, "/mnt/b") || !strings.Contains(left, "ktrdr_engine_up 0") {
		t.Errorf("left are\n%s", left)
	}
}

func TestDesiredState(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.Build{})
	m.SetDesired("one")
	m.SetDesired("two")
	m.DesiredConfirmed(time.Now().Add(-time.Hour))
	var age float64
	for _, line := range ours(scrape(t, m)) {
		if strings.HasPrefix(line, "ktrdr_desired_state_info") && line != `ktrdr_desired_state_info{revision="two"} 1` {
			t.Errorf("got %s", line)
		}
		if text, ok := strings.CutPrefix(line, "ktrdr_desired_state_age_seconds "); ok {
			if _, err := fmt.Sscan(text, &age); err != nil {
				t.Fatal(err)
			}
		}
	}
	if age < 3600 || age > 3700 {
		t.Errorf("the desired state is %v s old, confirmed an hour ago", age)
	}
}

// TestLabelsAreBounded tries to make more series than there may be, out of bytes that a
// label may not have.
func TestLabelsAreBounded(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.Build{Version: "\xff"})
	for i := range 5000 {
		name := fmt.Sprintf("n%d\xff%s", i, strings.Repeat("ü", 300))
		m.Reconciled(telemetry.Stack{Name: name})
		m.Operated(name, name, 0)
		m.SetMount(telemetry.Mount{Path: name})
		m.EngineError(name)
	}
	text := scrape(t, m)
	if n := strings.Count(text, "\nktrdr_reconcile_rounds_total{"); n != 201 {
		t.Errorf("%d stacks", n)
	}
	if n := strings.Count(text, "\n"); n > 20_000 {
		t.Errorf("%d lines", n)
	}
	if !strings.Contains(text, `ktrdr_reconcile_rounds_total{stack="other"} 4800`) {
		t.Error("what is beyond the limit is not counted")
	}
	m.ForgetStack("n0\xff" + strings.Repeat("ü", 300))
	m.Reconciled(telemetry.Stack{Name: "new"})
	if !strings.Contains(scrape(t, m), `ktrdr_reconcile_rounds_total{stack="new"} 1`) {
		t.Error("the place of a stack that is gone is not given to a new one")
	}
}

func TestMetricsLint(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.Build{})
	fill(m)
	m.SetDesired("r")
	problems, err := promlint.New(io.Reader(strings.NewReader(scrape(t, m)))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
