package report_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

func newReport() *report.Report {
	return report.New(report.Config{Node: "b", Log: slog.New(slog.DiscardHandler)})
}

func desired(revision string, stacks ...string) *api.Desired {
	d := &api.Desired{Revision: revision, Node: "b"}
	for _, name := range stacks {
		d.Stacks = append(d.Stacks, api.Stack{Name: name, Project: "p-" + name})
	}
	return d
}

// planned is a plan of stack core at r1 with one container per reason.
func planned(revision string, reasons ...api.Reason) *plan.Plan {
	p := &plan.Plan{Stack: "core", Revision: revision}
	p.Status = api.StackStatus{Name: "core", Project: "p-core", Converged: true, Reason: api.ReasonConverged}
	for i, reason := range reasons {
		converged := reason == api.ReasonConverged
		if !converged && p.Status.Converged {
			p.Status.Converged, p.Status.Reason = false, reason
		}
		name := fmt.Sprintf("c%d", i+1)
		p.Status.Services = append(p.Status.Services, api.ServiceStatus{Service: name, Container: name, Converged: converged, Reason: reason})
	}
	return p
}

// brief is what an event says, in a line.
func brief(events []api.Event) []string {
	var lines []string
	for _, e := range events {
		lines = append(lines, fmt.Sprintf("%s %s/%s %s: %s", e.Level, e.Stack, e.Object, e.Reason, e.Message))
	}
	return lines
}

func requireEvents(t *testing.T, r *report.Report, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, brief(r.Events(0, 1000)), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

type failure struct {
	class  api.ErrorClass
	reason api.Reason
}

func (f failure) Error() string                         { return "no luck" }
func (f failure) Failure() (api.ErrorClass, api.Reason) { return f.class, f.reason }

func TestEventsOfARollout(t *testing.T) {
	r := newReport()
	r.SetDesired(desired("r1", "core"), time.Time{})
	r.Planned("core", planned("r1", api.ReasonNotObserved), 0)
	r.Planned("core", planned("r1", api.ReasonProgressing, api.ReasonDependency), 0)
	create := plan.Op{Key: "create/c1", Kind: plan.Create, Object: "c1", Cause: "it does not exist"}
	for _, k := range []plan.Kind{plan.Resolve, plan.Measure, plan.Compare, plan.Probe, plan.AwaitExit} {
		r.Applied("core", plan.Op{Key: string(k), Kind: k, Object: "c1"}, 0, nil)
		r.Applied("core", plan.Op{Key: string(k), Kind: k, Object: "c1"}, 0, errors.New("x"))
	}
	r.Applied("core", create, 0, nil)
	for range 3 {
		r.Planned("core", planned("r1", api.ReasonConverged, api.ReasonProgressing), 0)
	}
	r.Planned("core", planned("r1", api.ReasonConverged, api.ReasonConverged), 0)
	requireEvents(t, r,
		"info / Progressing: desired state accepted: revision r1",
		"info core/ Progressing: being changed",
		"info core/c1 Progressing: create-container: it does not exist",
		"info core/c1 Converged: as wanted",
		"info core/ Converged: as wanted",
		"info core/c2 Converged: as wanted",
	)
}

// TestOneEventForOneTrouble lets something fail once a minute, as operations and as the
// state of the container, and wants to hear of it once, and again when it is another trouble.
func TestOneEventForOneTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport()
		r.SetDesired(desired("r1", "core"), time.Time{})
		pull := plan.Op{Key: "pull/x", Kind: plan.Pull, Object: "x", Cause: "it is not here"}
		for range 60 {
			r.Planned("core", planned("r1", api.ReasonProgressing), 0)
			r.Applied("core", pull, 0, failure{api.Transient, api.ReasonImagePull})
			r.Planned("core", planned("r1", api.ReasonImagePull), 0)
			time.Sleep(time.Minute)
		}
		r.Applied("core", pull, 0, failure{api.Terminal, api.ReasonImageDenied})
		requireEvents(t, r,
			"info / Progressing: desired state accepted: revision r1",
			"info core/ Progressing: being changed",
			"warn core/x ImagePullFailed: pull-image: no luck",
			"warn core/ ImagePullFailed: ImagePullFailed",
			"warn core/c1 ImagePullFailed: ImagePullFailed",
			"error core/x ImagePullDenied: pull-image: no luck",
		)
		// A new revision is a new attempt: whoever pushed it wants to see that it fails too.
		r.SetDesired(desired("r2", "core"), time.Time{})
		r.Planned("core", planned("r2", api.ReasonImageDenied), 0)
		before := len(r.Events(0, 1000))
		r.Applied("core", pull, 0, failure{api.Terminal, api.ReasonImageDenied})
		r.Applied("core", pull, 0, failure{api.Terminal, api.ReasonImageDenied})
		if n := len(r.Events(0, 1000)) - before; n != 1 {
			t.Errorf("%d events for the failure of the new revision", n)
		}
	})
}

// TestFlappingIsHeldBack converges and breaks every half minute, which is a change each time.
func TestFlappingIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport()
		r.SetDesired(desired("r1", "core"), time.Time{})
		start := plan.Op{Key: "start/c1", Kind: plan.Start, Object: "c1", Cause: "it exited with 1"}
		flap := func() {
			r.Planned("core", planned("r1", api.ReasonProgressing), 0)
			r.Applied("core", start, 0, nil)
			r.Planned("core", planned("r1", api.ReasonConverged), 0)
		}
		for range 200 {
			flap()
			time.Sleep(30 * time.Second)
		}
		before := len(r.Events(0, 1000))
		if before > 30 {
			t.Errorf("200 times the same made %d events", before)
		}
		if last := r.Events(0, 1000)[before-1].Message; !strings.HasSuffix(last, " (often: not told again before it has been quiet for 10m0s)") {
			t.Errorf("the last event before the silence says %q", last)
		}
		time.Sleep(11 * time.Minute)
		flap()
		if n := len(r.Events(0, 1000)) - before; n != 5 {
			t.Errorf("after a quiet time, %d events instead of 5", n)
		}
	})
}

func TestEventsOfTheNode(t *testing.T) {
	r := newReport()
	unreachable := &api.Condition{Type: api.ConditionDegraded, Status: true, Reason: api.ReasonSourceFailed, Message: "timeout"}
	invalid := &api.Condition{Type: api.ConditionDegraded, Status: true, Reason: api.ReasonInvalid, Message: "bad"}
	for range 3 {
		r.SetSource("", time.Now(), unreachable)
	}
	r.SetSource("r1", time.Now(), invalid)
	r.SetSource("r1", time.Now(), invalid)
	r.SetSource("r2", time.Now(), invalid)
	r.SetSource("r3", time.Now(), nil)
	r.SetSource("r3", time.Now(), nil)
	for range 2 {
		r.SetNodeCondition("memory", &api.Condition{Type: api.ConditionDegraded, Status: true, Reason: api.ReasonStateCorrupt, Message: "oh"})
	}
	r.SetNodeCondition("memory", nil)
	r.SetNodeCondition("memory", nil)
	r.SetMount("/m", api.MountState{OK: true})
	r.SetMount("/m", api.MountState{Reason: api.ReasonMountHung, Message: "hangs"})
	r.SetMount("/m", api.MountState{Reason: api.ReasonMountHung, Message: "hangs still"})
	r.SetMount("/m", api.MountState{OK: true})
	requireEvents(t, r,
		"warn /source SourceUnreachable: timeout",
		"error /source DesiredStateInvalid: bad",
		"error /source DesiredStateInvalid: bad",
		"info /source Converged: DesiredStateInvalid is over",
		"error /memory StateCorrupt: oh",
		"info /memory Converged: StateCorrupt is over",
		"warn //m MountTimeout: hangs",
		"info //m Converged: the mount is there as wanted",
	)
}

func TestBlockedIsAnError(t *testing.T) {
	r := newReport()
	p := planned("r1", api.ReasonDataUnprotected, api.ReasonUnhealthy)
	p.Status.Conditions = []api.Condition{
		{Type: api.ConditionBlocked, Status: true, Reason: api.ReasonDataUnprotected, Object: "c1"},
		{Type: api.ConditionDegraded, Status: true, Reason: api.ReasonUnhealthy, Object: "c2"},
	}
	r.Planned("core", p, 0)
	requireEvents(t, r,
		"error core/ DataWouldBeLost: DataWouldBeLost",
		"error core/c1 DataWouldBeLost: DataWouldBeLost",
		"warn core/c2 Unhealthy: Unhealthy",
	)
}

func TestEventRing(t *testing.T) {
	r := newReport()
	for i := range 1500 {
		r.SetMount(fmt.Sprintf("/m%d", i), api.MountState{Reason: api.ReasonMountMissing})
	}
	all := r.Events(0, 2000)
	if len(all) != 1000 || all[0].Object != "/m500" || all[999].Object != "/m1499" {
		t.Fatalf("%d events from %s to %s", len(all), all[0].Object, all[len(all)-1].Object)
	}
	for i := 1; i < len(all); i++ {
		if all[i].Seq != all[i-1].Seq+1 {
			t.Fatalf("event %d follows %d", all[i].Seq, all[i-1].Seq)
		}
	}
	for _, c := range []struct {
		after uint64
		limit int
		first string
		n     int
	}{
		{all[989].Seq, 100, "/m1490", 10},
		{all[0].Seq, 3, "/m501", 3},
		{all[999].Seq, 100, "", 0},
		{all[999].Seq + 1, 5, "/m500", 5}, // of another life of the agent
		{1, 2, "/m500", 2},
	} {
		got := r.Events(c.after, c.limit)
		if len(got) != c.n || c.n > 0 && got[0].Object != c.first {
			t.Errorf("%+v: got %d events", c, len(got))
		}
	}
	// A later agent's numbers are higher, so that a reader of this one misses nothing.
	if seq := all[0].Seq; seq < uint64(time.Now().Add(-time.Hour).UnixMilli()) {
		t.Errorf("numbers begin at %d", seq)
	}
}

func TestWaitEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport()
		got := make(chan []api.Event, 1)
		go func() { got <- r.WaitEvents(t.Context(), 0, 10) }()
		time.Sleep(time.Hour)
		select {
		case list := <-got:
			t.Fatalf("it did not wait: %v", list)
		default:
		}
		r.SetMount("/m", api.MountState{Reason: api.ReasonMountMissing, Message: "gone"})
		if diff := cmp.Diff([]string{"warn //m MountMissing: gone"}, brief(<-got)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestEventsAfterAClockStep: numbers, which readers go by, grow within a life of the agent and
// across its restarts, however the clock is set.
func TestEventsAfterAClockStep(t *testing.T) {
	var reserved uint64
	reserve := func(from uint64) uint64 {
		first := max(from, reserved+1)
		reserved = first - 1 + report.ReservedNumbers
		return first
	}
	say := func(events int) (first, last uint64) {
		r := report.New(report.Config{Node: "b", Log: slog.New(slog.DiscardHandler), Numbers: reserve})
		for i := range events {
			r.SetMount(fmt.Sprintf("/m%d", i), api.MountState{Reason: api.ReasonMountMissing})
		}
		all := r.Events(0, events)
		return all[len(all)-1].Seq + 1 - uint64(events), all[len(all)-1].Seq
	}
	_, last := say(3)
	synctest.Test(t, func(t *testing.T) { // its clock says 2000
		for _, count := range []int{1, report.ReservedNumbers + 1, 1} {
			first, next := say(count)
			if first <= last {
				t.Errorf("number %d after %d", first, last)
			}
			last = next
		}
	})
	if first, _ := say(1); first <= last {
		t.Errorf("number %d after %d, with the clock put right", first, last)
	}
}
