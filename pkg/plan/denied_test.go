package plan_test

import (
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// TestDenied: what the node's policy denies is left as it is: nothing is created, started,
// replaced or removed, not even what the stack no longer wants.
func TestDenied(t *testing.T) {
	running := func(id, name, service string) *api.Container {
		return &api.Container{ID: id, Name: name, State: api.StateRunning, StartedAt: time.Unix(1, 0), Labels: map[string]string{
			api.LabelStack: "core", api.LabelNode: "b", api.LabelProject: "core", api.LabelService: service, api.LabelNumber: "1",
			api.LabelSpecHash: "v1:old",
		}}
	}
	obs := &api.Observed{Complete: true, Containers: map[string]*api.Container{
		"c1": running("c1", "core-web-1", "web"), "c2": running("c2", "core-gone-1", "gone"),
	}, Holds: map[string]api.Hold{"core": {Why: "work"}}}
	service := func(name string) api.Service {
		spec := api.ContainerSpec{Image: "img:1"}
		return api.Service{Name: name, Replicas: []api.Replica{{Number: 1, Name: "core-" + name + "-1", Spec: spec, SpecHash: spec.Hash()}}}
	}
	stack := &api.Stack{Name: "core", Project: "core", Services: []api.Service{service("db"), service("web")}}
	in := plan.Input{Node: "b", Revision: "r", Stack: stack, Observed: obs, Now: time.Unix(100, 0)}
	if p := plan.Build(in); len(p.Ops) == 0 {
		t.Fatal("without a violation nothing is planned: this test proves nothing")
	}
	in.Denied = []api.Condition{{
		Type: api.ConditionBlocked, Status: true, Reason: api.ReasonPolicyViolation, Object: "web", Message: "services.web.image: no",
	}}
	p := plan.Build(in)
	if len(p.Ops) != 0 || !p.WakeAt.IsZero() {
		t.Errorf("planned:\n%s", p)
	}
	st := p.Status
	if st.Converged || st.Reason != api.ReasonPolicyViolation || st.Message != "services.web.image: no" || len(st.Conditions) != 1 || st.Hold == nil {
		t.Errorf("status %+v", st)
	}
	db, web := st.Services[0], st.Services[1]
	if web.ID != "c1" || web.State != "running" || web.Reason != api.ReasonPolicyViolation || web.Message != "services.web.image: no" || web.Converged {
		t.Errorf("web: %+v", web)
	}
	if db.State != "missing" || db.Reason != api.ReasonPolicyViolation || db.Message != "kept as it is: services.web.image: no" {
		t.Errorf("db: %+v", db)
	}
	in.Observed = &api.Observed{}
	if p := plan.Build(in); p.Status.Reason != api.ReasonNotObserved {
		t.Errorf("before the engine was seen: %s", p.Status.Reason)
	}
}
