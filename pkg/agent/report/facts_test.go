package report_test

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/api"
)

// changes tells whether do makes the status worth sending.
func changes(r *report.Report, do func()) bool {
	changed := r.Changed()
	do()
	select {
	case <-changed:
		return true
	default:
		return false
	}
}

func TestRegistrationsInStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport()
		r.SetDesired(desired("r1", "core"), time.Time{})
		p := planned("r1", api.ReasonConverged, api.ReasonConverged, api.ReasonConverged)
		p.Status.Services[0].ID, p.Status.Services[1].ID = "id1", "id2"
		r.Planned("core", p, 0)
		now := time.Now()
		busy := api.RegistrationStatus{Registered: true, State: "busy", Since: now}
		set := func(at time.Time, st api.RegistrationStatus) func() {
			return func() {
				r.SetRegistrations(map[string]api.RegistrationStatus{"id1": st, "gone": busy, "": busy}, []api.RegistrarStatus{{URL: "http://b/", OK: true, CheckedAt: at}})
			}
		}
		if !changes(r, set(now, busy)) {
			t.Error("a registration is no news")
		}
		if changes(r, set(now.Add(time.Second), busy)) {
			t.Error("another look with the same result is news")
		}
		st := r.Status()
		got := []*api.RegistrationStatus{}
		for _, svc := range st.Stacks[0].Services {
			got = append(got, svc.Registration)
		}
		if diff := cmp.Diff([]*api.RegistrationStatus{&busy, nil, nil}, got); diff != "" {
			t.Error(diff)
		}
		if len(st.Registrars) != 1 || !st.Registrars[0].CheckedAt.Equal(now.Add(time.Second)) {
			t.Errorf("registrars %+v", st.Registrars)
		}
		if p.Status.Services[0].Registration != nil {
			t.Error("the plan was changed")
		}
		if !changes(r, set(now, api.RegistrationStatus{Registered: true, State: "available", Since: now})) {
			t.Error("another word is no news")
		}
		text := get(t, r, "/metrics").Body.String()
		for _, want := range []string{`ktrdr_service_registered{container="c1",service="c1",stack="core"} 1`, `ktrdr_registrar_up{url="http://b/"} 1`} {
			if !strings.Contains(text, want) {
				t.Errorf("metrics lack %s", want)
			}
		}
	})
}

// TestWarningsAreEvents: a stack that has converged with a warning says so once, and once
// when it is over.
func TestWarningsAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport()
		r.SetDesired(desired("r1", "core"), time.Time{})
		told := func() []string {
			var list []string
			for _, e := range r.Events(0, 100) {
				if e.Object == "c1" {
					list = append(list, e.Level+" "+e.Stack+" "+string(e.Reason)+": "+e.Message)
				}
			}
			return list
		}
		warn := func(reason api.Reason) {
			p := planned("r1", api.ReasonConverged)
			if reason != "" {
				p.Status.Conditions = []api.Condition{{Type: api.ConditionWarning, Status: true, Reason: reason, Object: "c1", Message: "m"}}
			}
			r.Planned("core", p, 0)
		}
		for _, reason := range []api.Reason{"", api.ReasonRegistrarDown, api.ReasonRegistrarDown, api.ReasonNotRegistered, "", ""} {
			warn(reason)
			time.Sleep(time.Minute) // the bubble's clock
		}
		want := []string{"warn core RegistrarUnreachable: m", "warn core NotRegistered: m", "info core Converged: NotRegistered is over"}
		if diff := cmp.Diff(want, told()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestBackupsInStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport()
		start := time.Now()
		good := api.BackupStatus{Name: "db", Stack: "core", OK: true, File: "f", Size: 5, Time: start, CheckedAt: start}
		bad := api.BackupStatus{Name: "db", Stack: "core", Reason: api.ReasonBackupStale, Message: "m", CheckedAt: start}
		own := api.BackupStatus{Name: "db", Reason: api.ReasonBackupMissing, Message: "n", CheckedAt: start}
		r.SetBackups([]api.BackupStatus{good, own})
		if diff := cmp.Diff([]api.BackupStatus{own, good}, r.Status().Backups); diff != "" {
			t.Error(diff)
		}
		conditions := func() []api.Condition { return r.Status().Conditions }
		missing := api.Condition{Type: api.ConditionWarning, Status: true, Reason: api.ReasonBackupMissing, Message: "n", Object: "db", Since: start}
		if diff := cmp.Diff([]api.Condition{missing}, conditions()); diff != "" {
			t.Error(diff)
		}
		time.Sleep(time.Minute)
		r.SetBackups([]api.BackupStatus{bad, own})
		stale := api.Condition{Type: api.ConditionWarning, Status: true, Reason: api.ReasonBackupStale, Message: "m", Object: "core/db", Since: start.Add(time.Minute)}
		if diff := cmp.Diff([]api.Condition{stale, missing}, conditions()); diff != "" {
			t.Error(diff)
		}
		for _, want := range []string{`ktrdr_backup_ok{backup="core/db"} 0`, `ktrdr_backup_ok{backup="db"} 0`} {
			if text := get(t, r, "/metrics").Body.String(); !strings.Contains(text, want) {
				t.Errorf("metrics lack %s", want)
			}
		}
		r.SetBackups(nil)
		if len(conditions()) != 0 || len(r.Status().Backups) != 0 {
			t.Errorf("what is no longer watched is told: %+v", r.Status())
		}
	})
}

func TestStackSecretsInStatus(t *testing.T) {
	asked := map[string]string{}
	r := report.New(report.Config{Node: "b", Log: slog.New(slog.DiscardHandler), StackSecrets: func(stack string, inForce map[string]string) []api.StackSecret {
		asked[stack] = inForce["op://v/i/f"]
		return []api.StackSecret{{Reference: "op://v/i/f", Generation: 2}}
	}})
	r.SetDesired(desired("r1", "core", "new"), time.Time{})
	p := planned("r1", api.ReasonConverged)
	p.InForce = map[string]string{"op://v/i/f": "v1:digest"}
	r.Planned("core", p, 0)
	st := r.Status()
	if asked["core"] != "v1:digest" || len(st.Stacks[0].Secrets) != 1 || st.Stacks[0].Secrets[0].Generation != 2 {
		t.Errorf("asked %v, told %+v", asked, st.Stacks[0].Secrets)
	}
}
