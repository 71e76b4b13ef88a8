package plan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// composeMade is a stack whose service has secrets outside of its environment, and the
// container that Compose made for it with the values in clear.
func composeMade() (plan.Input, *api.Container) {
	const ref = "op://vault/db/user"
	spec := api.ContainerSpec{
		Image: "img:1", Env: []string{"POSTGRES_USER=" + api.Placeholder(ref)},
		Healthcheck: &api.Healthcheck{Test: []string{"CMD-SHELL", "pg_isready -U " + api.Placeholder(ref)}},
	}
	rep := api.Replica{Number: 1, Name: "db", Spec: spec, SpecHash: spec.Hash(), SecretRefs: []string{ref}}
	stack := &api.Stack{Name: "s", Project: "p", AdoptFrom: []string{"/old"}, Services: []api.Service{{Name: "db", Replicas: []api.Replica{rep}}}}
	made := &api.Container{
		ID: "c1", Name: "db", Image: "img:1", ImageID: "sha256:1", State: api.StateRunning, StartedAt: start,
		Labels: map[string]string{api.LabelProject: "p", api.LabelService: "db", api.LabelNumber: "1", api.LabelWorkingDir: "/old"},
		Spec: api.ContainerSpec{
			Image: "img:1", Env: []string{"POSTGRES_USER=alice"},
			Healthcheck: &api.Healthcheck{Test: []string{"CMD-SHELL", "pg_isready -U alice"}},
		},
		Facts: api.ContainerFacts{WritableBytes: 0},
	}
	in := plan.Input{
		Node: "n", Revision: "r1", Stack: stack, Now: start, Secrets: map[string]string{ref: "v1:digest"},
		Observed: &api.Observed{
			Complete:   true,
			Containers: map[string]*api.Container{"c1": made},
			Images:     map[string]*api.Image{"img:1": {ID: "sha256:1"}},
		},
	}
	return in, made
}

func kinds(p *plan.Plan) []plan.Kind {
	var list []plan.Kind
	for _, op := range p.Ops {
		list = append(list, op.Kind)
	}
	return list
}

// TestAdoptWithSecretsAnywhere: a reference may stand in any field, so apply opens and
// compares the whole spec before anything is decided; the verdict holds for that spec and
// those secrets only.
func TestAdoptWithSecretsAnywhere(t *testing.T) {
	in, made := composeMade()
	p := plan.Build(in)
	if diff := cmp.Diff([]plan.Kind{plan.Compare}, kinds(p)); diff != "" {
		t.Fatalf("before the comparison (-want +got):\n%s%s", diff, p)
	}
	made.Facts.ComparedFor = p.Ops[0].SpecHash
	p = plan.Build(in)
	if len(p.Ops) == 0 || p.Ops[0].Kind != plan.Adopt {
		t.Errorf("no difference once opened, but:\n%s", p)
	}
	made.Facts.OpenedDiff = []string{"healthcheck.test"}
	p = plan.Build(in)
	if len(p.Ops) == 0 || p.Ops[0].Kind != plan.Create || len(p.Ops[0].Diff) != 1 || p.Ops[0].Diff[0].Path != "healthcheck.test" {
		t.Errorf("another healthcheck once opened, but:\n%s", p)
	}
	made.Facts.OpenedDiff = nil
	in.Secrets = map[string]string{"op://vault/db/user": "v1:rotated"}
	p = plan.Build(in)
	if diff := cmp.Diff([]plan.Kind{plan.Compare}, kinds(p)); diff != "" {
		t.Errorf("a verdict for other secrets was used (-want +got):\n%s%s", diff, p)
	}
}

// TestRefusedSecret: a value that breaks a rule holds the service back, and the rule is named.
func TestRefusedSecret(t *testing.T) {
	in, _ := composeMade()
	in.Refused = map[string]string{"op://vault/db/user": "variable DB_USER must have at least 32 characters"}
	p := plan.Build(in)
	if len(p.Ops) > 0 {
		t.Errorf("something would be touched:\n%s", p)
	}
	svc := p.Status.Services[0]
	if svc.Reason != api.ReasonSecretInvalid || !strings.Contains(svc.Message, "variable DB_USER must have at least 32 characters") {
		t.Errorf("%s: %s", svc.Reason, svc.Message)
	}
}
