package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

func TestStatusFromNothingToConverged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport()
		start := time.Now()
		want := api.NodeStatus{Node: "b", Version: "dev", Time: start, Stacks: []api.StackStatus{}}
		requireStatus(t, r, want)

		r.SetEngine(api.Engine{Reachable: true, Version: "20.10"})
		want.Engine = api.Engine{Reachable: true, Version: "20.10"}
		requireStatus(t, r, want)

		committed := start.Add(-time.Hour)
		r.SetDesired(desired("r1", "core"), committed)
		r.SetSource("r1", start, nil)
		want.Ready, want.Revision, want.RevisionTime, want.SourceRevision, want.SourceCheckAt = true, "r1", committed, "r1", start
		want.Stacks = []api.StackStatus{{
			Name: "core", Project: "p-core", Reason: api.ReasonProgressing, Message: "not planned yet", Services: []api.ServiceStatus{},
		}}
		requireStatus(t, r, want)

		r.Planned("core", planned("r1", api.ReasonConverged), 0)
		want.Stacks = []api.StackStatus{planned("r1", api.ReasonConverged).Status}
		requireStatus(t, r, want)

		// Converged at r1 is not converged at r2.
		r.SetDesired(desired("r2", "core"), committed)
		want.Revision = "r2"
		want.Stacks[0].Converged, want.Stacks[0].Reason, want.Stacks[0].Message = false, api.ReasonProgressing, "not planned for the new revision yet"
		requireStatus(t, r, want)

		// An engine that goes away is visible, but readiness was reached.
		r.SetEngine(api.Engine{})
		want.Engine = api.Engine{}
		requireStatus(t, r, want)
	})
}

func requireStatus(t *testing.T, r *report.Report, want api.NodeStatus) {
	t.Helper()
	if diff := cmp.Diff(want, r.Status()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

// TestSince wants the time of a condition to stay while it says the same in other words.
func TestSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport()
		start := time.Now()
		failing := func(message string, reason api.Reason) {
			r.SetSource("", time.Now(), &api.Condition{Type: api.ConditionDegraded, Status: true, Reason: reason, Message: message})
			r.SetNodeCondition("x", &api.Condition{Type: api.ConditionDegraded, Status: true, Reason: reason, Message: message})
			p := planned("r1", reason)
			p.Status.Conditions = []api.Condition{{Type: api.ConditionDegraded, Status: true, Reason: reason, Object: "c1", Message: message, Since: time.Now()}}
			r.Planned("core", p, 0)
		}
		times := func() []time.Time {
			st := r.Status()
			all := slices.Concat(st.Conditions, st.Stacks[0].Conditions)
			list := make([]time.Time, 0, len(all))
			for _, c := range all {
				list = append(list, c.Since)
			}
			return list
		}
		failing("one", api.ReasonEngineDown)
		time.Sleep(time.Minute)
		failing("two", api.ReasonEngineDown)
		if diff := cmp.Diff([]time.Time{start, start, start}, times()); diff != "" {
			t.Errorf("after the same reason: %s", diff)
		}
		failing("two", api.ReasonEngineHung)
		now := start.Add(time.Minute)
		if diff := cmp.Diff([]time.Time{now, now, now}, times()); diff != "" {
			t.Errorf("after another reason: %s", diff)
		}
	})
}

func TestStaleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport()
		r.SetDesired(desired("r1"), time.Time{})
		r.SetSource("r1", time.Now(), nil)
		confirmed := time.Now()
		reasons := func() []api.Reason {
			var list []api.Reason
			for _, c := range r.Status().Conditions {
				list = append(list, c.Reason)
			}
			return list
		}
		// No news from a source that does not fail is a long pause between two looks.
		time.Sleep(time.Hour)
		if got := reasons(); got != nil {
			t.Errorf("got %v", got)
		}
		confirmed = confirmed.Add(time.Hour)
		r.SetSource("r1", time.Now(), nil)
		time.Sleep(9 * time.Minute)
		r.SetSource("", time.Now(), &api.Condition{Type: api.ConditionDegraded, Status: true, Reason: api.ReasonSourceFailed})
		if diff := cmp.Diff([]api.Reason{api.ReasonSourceFailed}, reasons()); diff != "" {
			t.Error(diff)
		}
		time.Sleep(2 * time.Minute)
		if diff := cmp.Diff([]api.Reason{api.ReasonSourceFailed, api.ReasonStale}, reasons()); diff != "" {
			t.Error(diff)
		}
		if since := r.Status().Conditions[1].Since; !since.Equal(confirmed.Add(10 * time.Minute)) {
			t.Errorf("stale since %s", since)
		}
		if st := r.Status(); st.SourceRevision != "r1" {
			t.Errorf("the revision that was seen is forgotten: %q", st.SourceRevision)
		}
	})
}

func TestStacksGo(t *testing.T) {
	names := func(r *report.Report) []string {
		list := []string{}
		for _, s := range r.Status().Stacks {
			list = append(list, s.Name)
		}
		return list
	}
	r := newReport()
	r.SetDesired(desired("r1", "core"), time.Time{})
	r.Planned("core", planned("r1", api.ReasonConverged), 0)
	r.SetDesired(desired("r2"), time.Time{})
	blind := planned("r2")
	blind.Status.Reason = api.ReasonNotObserved
	removing := planned("r2")
	removing.Ops = []plan.Op{{Key: "remove/c1", Kind: plan.Remove, Object: "c1"}}
	for _, c := range []struct {
		what string
		p    *plan.Plan
		want []string
	}{
		{"nothing is known about the engine", blind, []string{"core"}},
		{"a container is left", removing, []string{"core"}},
		{"nothing is left", planned("r2"), []string{}},
	} {
		r.Planned("core", c.p, 0)
		if diff := cmp.Diff(c.want, names(r)); diff != "" {
			t.Errorf("%s: %s", c.what, diff)
		}
	}
	if strings.Contains(get(t, r, "/metrics").Body.String(), `stack="core"`) {
		t.Error("the metrics of the stack stay")
	}
	r.SetDesired(desired("r3", "core"), time.Time{})
	r.Planned("core", planned("r3"), 0)
	r.Forget("core")
	if len(r.Plans()) != 0 {
		t.Error("forgotten, but there")
	}
}

func TestMountsGo(t *testing.T) {
	r := newReport()
	d := desired("r1", "core")
	d.Stacks[0].Mounts = []api.RequiredMount{{Path: "/b"}, {Path: "/a"}}
	r.SetDesired(d, time.Time{})
	r.SetMount("/b", api.MountState{OK: true})
	r.SetMount("/a", api.MountState{Reason: api.ReasonMountMissing, Message: "not mounted"})
	want := []api.MountStatus{{Path: "/a", Reason: api.ReasonMountMissing, Message: "not mounted"}, {Path: "/b", OK: true}}
	if diff := cmp.Diff(want, r.Status().Mounts); diff != "" {
		t.Error(diff)
	}
	r.SetDesired(desired("r2", "core"), time.Time{})
	r.SetMount("/a", api.MountState{OK: true}) // a probe that was under way
	if got := r.Status().Mounts; got != nil {
		t.Errorf("left are %v", got)
	}
	if strings.Contains(get(t, r, "/metrics").Body.String(), "ktrdr_mount_ok{") {
		t.Error("the metrics of the mounts stay")
	}
}

// TestMetrics follows a stack through a rollout, a repair and a revision that does not
// touch it.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport()
		op := plan.Op{Key: "create/c1", Kind: plan.Create, Object: "c1"}
		r.SetDesired(desired("r1", "core"), time.Time{})
		r.Planned("core", planned("r1", api.ReasonProgressing), time.Millisecond)
		r.Applied("core", op, time.Second, failure{api.Transient, api.ReasonEngineHung})
		r.Applied("core", op, time.Second, errors.New("plain"))
		r.Applied("core", op, time.Second, failure{api.Waiting, api.ReasonMountMissing})
		r.Applied("core", op, time.Second, nil)
		time.Sleep(3 * time.Second)
		r.Planned("core", planned("r1", api.ReasonConverged), time.Millisecond)
		r.Planned("core", planned("r1", api.ReasonProgressing), time.Millisecond)
		r.Applied("core", op, time.Second, nil)
		r.Applied("core", plan.Op{Key: "probe", Kind: plan.Probe}, time.Second, nil)
		r.Planned("core", planned("r1", api.ReasonConverged), time.Millisecond)
		r.SetDesired(desired("r2", "core"), time.Time{})
		r.Planned("core", planned("r2", api.ReasonConverged), time.Millisecond)
		text := get(t, r, "/metrics").Body.String()
		for _, want := range []string{
			`ktrdr_stack_convergence_seconds_sum{stack="core"} 3`,
			`ktrdr_stack_convergence_seconds_count{stack="core"} 1`,
			`ktrdr_drift_repaired_total{kind="create-container"} 1`,
			`ktrdr_operations_total{kind="create-container",result="Transient"} 2`,
			`ktrdr_operations_total{kind="create-container",result="Waiting"} 1`,
			`ktrdr_operations_total{kind="create-container",result="ok"} 2`,
			`ktrdr_engine_errors_total{reason="EngineTimeout"} 1`,
			`ktrdr_engine_errors_total{reason="EngineError"} 1`,
			`ktrdr_reconcile_rounds_total{stack="core"} 5`,
			`ktrdr_stack_converged{stack="core"} 1`,
			`ktrdr_desired_state_info{revision="r2"} 1`,
			`ktrdr_desired_state_age_seconds 3`,
		} {
			if !strings.Contains(text, "\n"+want+"\n") {
				t.Errorf("no %s", want)
			}
		}
		if strings.Contains(text, `drift_repaired_total{kind="await-healthy"}`) || strings.Contains(text, `engine_errors_total{reason="MountMissing"}`) {
			t.Error("a look is no repair, and a mount is not the engine's")
		}
	})
}

// TestLogNames wants the attributes of the log to have the names that all packages use.
func TestLogNames(t *testing.T) {
	var out bytes.Buffer
	r := report.New(report.Config{Node: "b", Log: slog.New(slog.NewJSONHandler(&out, nil))})
	r.SetDesired(desired("r1", "core"), time.Time{})
	p := planned("r1", api.ReasonUnhealthy)
	p.Status.Services[0].ID, p.Status.Services[0].Image = "i", "img"
	r.Planned("core", p, 0)
	r.Applied("core", plan.Op{Key: "k", Kind: plan.Start, Object: "c1", Service: "c1", ID: "i", Cause: "why"}, time.Second, nil)
	r.Applied("core", plan.Op{Key: "k", Kind: plan.Start, Object: "c1", Service: "c1", ID: "i", Cause: "why"}, time.Second, errors.New("no"))
	r.SetMount("/m", api.MountState{Reason: api.ReasonMountMissing})
	allowed := []string{
		"time", "level", "msg", "node", "stack", "service", "container_id", "image", "revision", "op", "reason", "duration", "err", "object", "detail",
	}
	var messages []string
	for line := range strings.Lines(out.String()) {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		for key, value := range got {
			if !slices.Contains(allowed, key) || value == "" {
				t.Errorf("attribute %q is %q", key, value)
			}
		}
		if got["node"] != "b" {
			t.Errorf("no node in %s", line)
		}
		messages = append(messages, got["level"].(string)+" "+got["msg"].(string))
	}
	want := []string{
		"INFO desired state accepted", "WARN state changed", "WARN state changed", "INFO operation done", "WARN operation failed",
	}
	if diff := cmp.Diff(want, messages); diff != "" {
		t.Error(diff)
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	r := newReport()
	h := r.ReadHandler(&backend{})
	var wg sync.WaitGroup
	for _, work := range []func(){
		func() { r.SetDesired(desired("r1", "core"), time.Time{}) },
		func() { r.Planned("core", planned("r1", api.ReasonProgressing), 0) },
		func() { r.Applied("core", plan.Op{Key: "k", Kind: plan.Start}, 0, errors.New("x")) },
		func() { r.SetNodeCondition("k", &api.Condition{Reason: api.ReasonEngineDown}) },
		func() { r.SetMount("/m", api.MountState{}) },
		func() { r.SetSource("r", time.Now(), nil); r.SetEngine(api.Engine{Reachable: true}) },
		func() { r.Forget("core"); r.Plans(); r.Events(0, 10) },
		func() { h.ServeHTTP(httptest.NewRecorder(), request("GET", "/v1/status", "")) },
		func() { h.ServeHTTP(httptest.NewRecorder(), request("GET", "/v1/plan", "")) },
	} {
		wg.Go(func() {
			for range 200 {
				work()
			}
		})
	}
	wg.Wait()
}
