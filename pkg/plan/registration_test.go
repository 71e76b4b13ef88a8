package plan_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// TestRegistrationChangesNothing: in every situation of the golden files, a service that is
// not registered, or of which nobody knows, gets the operations that it gets anyway. Only what
// remembers a success may be missing.
func TestRegistrationChangesNothing(t *testing.T) {
	archives, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(archives) < 100 {
		t.Fatalf("%d archives: %v", len(archives), err)
	}
	reg := &api.Registration{URL: "http://backend/", Match: map[string]string{"id": "a"}, Grace: time.Minute, Required: true}
	touched := 0
	for _, file := range archives {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(filepath.Base(file), "registration-") {
			continue
		}
		in := scenarioInput(t, archive)
		want := operations(plan.Build(in))
		register(in, reg)
		for _, fact := range []*api.RegistrationFact{nil, {Reason: api.ReasonNotRegistered}, {Reason: api.ReasonRegistrarDown, Lost: true}, {Registered: true}} {
			for _, c := range in.Observed.Containers {
				c.Facts.Registration = nil
				if fact != nil {
					known := *fact
					known.For, known.Since = c.StartedAt, c.StartedAt
					c.Facts.Registration = &known
				}
			}
			p := plan.Build(in)
			if diff := cmp.Diff(want, operations(p)); diff != "" {
				t.Errorf("%s with %+v (-without +with a registration):\n%s", filepath.Base(file), fact, diff)
			}
			for _, svc := range p.Status.Services {
				if svc.Reason == api.ReasonNotRegistered || svc.Reason == api.ReasonRegistrarDown {
					touched++
				}
				if svc.Converged && svc.State == string(api.StateRunning) && (fact == nil || !fact.Registered) && !expected(in, fact, svc) {
					t.Errorf("%s: %s has converged with %+v", filepath.Base(file), svc.Container, fact)
				}
			}
		}
	}
	if touched < 50 {
		t.Errorf("only %d containers were not registered: the test looks at nothing", touched)
	}
}

// register declares a registration for all replicas, as if the stack had always had it: a
// change of the stack ends a quarantine.
func register(in plan.Input, reg *api.Registration) {
	before := in.Stack.SumDigest()
	memory := in.Observed.Rollouts[in.Stack.Name]
	stacks := []*api.Stack{in.Stack}
	if good := memory.Good.Stack(); good != nil {
		stacks = append(stacks, good)
	}
	for _, stack := range stacks {
		services := slices.Clone(stack.Services)
		for i := range services {
			services[i].Replicas = slices.Clone(services[i].Replicas)
			for j := range services[i].Replicas {
				services[i].Replicas[j].Registration = reg
			}
		}
		stack.Services, stack.Digest = services, ""
	}
	if memory.Failed != nil && memory.Failed.Digest == before {
		memory.Failed.Digest = in.Stack.SumDigest()
	}
}

// expected says that a container counts as converged without a registration: it was
// registered, and its grace is not over.
func expected(in plan.Input, fact *api.RegistrationFact, svc api.ServiceStatus) bool {
	return fact != nil && fact.Lost && in.Now.Sub(svc.StartedAt) < time.Minute
}

// operations are the plan's without what remembers that all was well, or that it is so no longer.
func operations(p *plan.Plan) []string {
	var list []string
	for _, op := range p.Ops {
		if op.Kind != plan.RecordGood && op.Kind != plan.LiftQuarantine {
			list = append(list, fmt.Sprint(op.Key, op.Needs, op.NotBefore, op.Stalled))
		}
	}
	return list
}
