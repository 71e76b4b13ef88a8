package plan_test

import (
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// TestKeepersElsewhere: a stack follows what a service of another one keeps: it waits while
// that is rotated, and goes on with the old value where it can't be.
func TestKeepersElsewhere(t *testing.T) {
	const ref = "op://v/i/f"
	secret := func(name string) api.Service {
		spec := api.ContainerSpec{Image: "img:1", Env: []string{"PW=" + api.Placeholder(ref)}}
		return api.Service{Name: name, Replicas: []api.Replica{{
			Number: 1, Name: name, Spec: spec, SpecHash: spec.Hash(), SecretRefs: []string{ref},
		}}}
	}
	db := secret("db")
	db.Keeps = []api.KeptSecret{{Ref: ref, Variable: "PW", Exec: []string{"alter"}}}
	stacks := []api.Stack{
		{Name: "core", Project: "core", Services: []api.Service{db}},
		{Name: "jobs", Project: "jobs", Services: []api.Service{secret("worker")}},
	}
	broken := map[string]string{ref: "variable PW must have at least 8 characters"}
	cases := map[string]struct {
		denied, refused bool
		recreated       bool
		told            string
	}{
		"rotated now":         {told: "waits until service"},
		"denied by policy":    {denied: true, recreated: true, told: "the node's policy denies the stack"},
		"breaks a rule there": {refused: true, recreated: true, told: "breaks a rule"},
	}
	for name, c := range cases {
		m := newModel()
		m.obs.Images["img:1"] = &api.Image{ID: "sha256:img:1"}
		m.obs.Kept = map[string]api.Kept{api.KeptKey("core", "db", ref): {Accepted: "v1:digest"}}
		for i := range stacks {
			if _, err := m.run(&stacks[i]); err != nil {
				t.Fatal(err)
			}
		}
		for id, container := range m.obs.Containers { // somebody removes the worker
			if container.Name == "worker" {
				delete(m.obs.Containers, id)
			}
		}
		signs := plan.Keepers(stacks, plan.Asking{
			Denied: func(s *api.Stack) []api.Condition {
				if c.denied && s.Name == "core" {
					return []api.Condition{{Reason: api.ReasonPolicyViolation}}
				}
				return nil
			},
			Refused: func(s *api.Stack) map[string]string {
				if c.refused && s.Name == "core" {
					return broken
				}
				return nil
			},
			Earlier: func() map[string]bool { return map[string]bool{"v1:digest": true} },
		})
		p := plan.Build(plan.Input{
			Node: "a", Revision: "r1", Stack: &stacks[1], Observed: m.obs, Now: m.now, Secrets: map[string]string{ref: "v1:new"}, Keepers: signs,
		})
		if got := len(p.Ops) > 0; got != c.recreated {
			t.Errorf("%s: %s", name, p)
		}
		for _, op := range p.Ops {
			if op.Secrets[ref] != "v1:digest" {
				t.Errorf("%s: %s with %s", name, op.Key, op.Secrets[ref])
			}
		}
		if text := p.Status.Message + conditionsText(p); !strings.Contains(text, c.told) {
			t.Errorf("%s: status says %s", name, text)
		}
	}
}

func conditionsText(p *plan.Plan) string {
	var out strings.Builder
	for _, c := range p.Status.Conditions {
		out.WriteString(c.Message)
	}
	return out.String()
}
