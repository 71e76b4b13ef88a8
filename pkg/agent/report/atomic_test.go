package report_test

import (
	"sync"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/api"
)

// TestNoStatusContradictsItself: what belongs together changes together, whenever somebody looks.
func TestNoStatusContradictsItself(t *testing.T) {
	t.Parallel()
	r := newReport()
	down := &api.Condition{Type: api.ConditionDegraded, Status: true, Reason: api.ReasonEngineDown, Message: "gone"}
	invalid := &api.Condition{Type: api.ConditionDegraded, Status: true, Reason: api.ReasonInvalid, Message: "bad"}
	policy := &api.Condition{Type: api.ConditionDegraded, Status: true, Reason: api.ReasonPolicyViolation, Message: "bad"}
	stale := api.BackupStatus{Name: "db", Reason: api.ReasonBackupStale, Message: "old"}
	r.SetEngineDown(down)
	r.SetSource("r0", time.Now(), invalid)
	var writer sync.WaitGroup
	done := make(chan struct{})
	writer.Go(func() {
		defer close(done)
		for i := range 2000 {
			r.SetEngine(api.Engine{Reachable: true})
			r.SetEngineDown(down)
			r.SetPolicy(api.PolicyStatus{File: "/p"}, policy)
			r.SetPolicy(api.PolicyStatus{}, nil)
			r.SetBackups([]api.BackupStatus{stale})
			r.SetBackups([]api.BackupStatus{{Name: "db", OK: true}})
			revision := string(rune('a' + i%20))
			r.Accept(desired(revision, "core"), report.Revision{ID: revision})
			r.SetSource("bad", time.Now(), invalid)
		}
	})
	defer writer.Wait()
	for {
		st := r.Status()
		has := map[api.Reason]bool{}
		for _, c := range st.Conditions {
			has[c.Reason] = true
		}
		switch {
		case st.Engine.Reachable == has[api.ReasonEngineDown]:
			t.Fatalf("the engine is reachable: %t, with the conditions %+v", st.Engine.Reachable, st.Conditions)
		case (st.Policy.File != "") != has[api.ReasonPolicyViolation]:
			t.Fatalf("the policy is %+v, with the conditions %+v", st.Policy, st.Conditions)
		case len(st.Backups) > 0 && st.Backups[0].OK == has[api.ReasonBackupStale]:
			t.Fatalf("the backup is %+v, with the conditions %+v", st.Backups[0], st.Conditions)
		case (st.SourceRevision == st.Revision) == has[api.ReasonInvalid]:
			t.Fatalf("revision %q of %q, with the conditions %+v", st.Revision, st.SourceRevision, st.Conditions)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
