package plan_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// follower is a node of several stacks after rotations that all ended just now.
type follower struct {
	*model
	stacks []api.Stack
	values map[string]string
	began  time.Time
	// denied stacks are those that the policy refuses.
	denied map[string]bool
	order  []string // of replaced containers
}

func secretOf(stack string) string { return "op://v/" + stack + "/f" }

// drawFollower makes stacks that keep a secret each, or none, and use those of others.
func drawFollower(t *rapid.T) *follower {
	f := &follower{model: newModel(), values: map[string]string{}, denied: map[string]bool{}}
	f.obs.Images["img:1"] = &api.Image{ID: "sha256:img:1"}
	f.obs.Kept = map[string]api.Kept{}
	names := []string{"a", "b", "c", "d"}[:rapid.IntRange(2, 4).Draw(t, "stacks")]
	for _, name := range names {
		f.values[secretOf(name)] = "v1:old"
		stack := api.Stack{Name: name, Project: name}
		if rapid.Bool().Draw(t, name+" keeps") {
			db := usingSecrets(name+"-db", secretOf(name))
			db.Keeps = []api.KeptSecret{{Ref: secretOf(name), Variable: "PW", Exec: []string{"alter"}}}
			stack.Services = append(stack.Services, db)
			f.obs.Kept[api.KeptKey(name, db.Name, secretOf(name))] = api.Kept{Accepted: "v1:old"}
		}
		for i := range rapid.IntRange(0, 2).Draw(t, name+" consumers") {
			var refs []string
			for _, other := range names {
				if rapid.Bool().Draw(t, "uses "+other) {
					refs = append(refs, secretOf(other))
				}
			}
			stack.Services = append(stack.Services, usingSecrets(fmt.Sprintf("%s-app%d", name, i), refs...))
		}
		f.stacks = append(f.stacks, stack)
	}
	return f
}

func usingSecrets(name string, refs ...string) api.Service {
	spec := api.ContainerSpec{Image: "img:1"}
	for _, ref := range refs {
		spec.Env = append(spec.Env, "PW="+api.Placeholder(ref))
	}
	return api.Service{Name: name, Replicas: []api.Replica{{
		Number: 1, Name: name, Spec: spec, SpecHash: spec.Hash(), SecretRefs: refs,
	}}}
}

func (f *follower) plan(stack *api.Stack) *plan.Plan {
	denied := func(s *api.Stack) []api.Condition {
		if f.denied[s.Name] {
			return []api.Condition{{Reason: api.ReasonPolicyViolation}}
		}
		return nil
	}
	return plan.Build(plan.Input{
		Node: "a", Revision: "r1", Stack: stack, Observed: f.obs, Now: f.now, Secrets: f.values, Denied: denied(stack),
		Keepers: plan.Keepers(f.stacks, plan.Asking{
			Denied: denied, Refused: func(*api.Stack) map[string]string { return nil },
			Earlier: func() map[string]bool { return nil },
		}),
	})
}

// step applies one operation that is ready, of any stack, and says whether there was one.
func (f *follower) step(t *rapid.T) bool {
	type choice struct {
		stack *api.Stack
		op    plan.Op
	}
	var ready []choice
	for i := range f.stacks {
		for _, op := range f.plan(&f.stacks[i]).Ready(f.now) {
			ready = append(ready, choice{&f.stacks[i], op})
		}
	}
	if len(ready) == 0 {
		return false
	}
	c := ready[rapid.IntRange(0, len(ready)-1).Draw(t, "op")]
	if c.op.Kind == plan.Create {
		f.order = append(f.order, c.op.Object)
	}
	if err := f.apply(c.stack, c.op); err != nil {
		t.Fatalf("%s: %v", c.op.Key, err)
	}
	f.now = f.now.Add(time.Millisecond)
	return true
}

func (f *follower) run(t *rapid.T) {
	for range 500 {
		if !f.step(t) {
			return
		}
	}
	t.Fatal("no end after 500 operations")
}

// rotated gives every secret a new value, which all who keep it have accepted.
func (f *follower) rotated() {
	f.began, f.order = f.now, nil
	for ref := range f.values {
		f.values[ref] = "v1:new"
	}
	for key := range f.obs.Kept {
		f.obs.Kept[key] = api.Kept{Accepted: "v1:new", Since: f.now}
	}
}

// behind are consumers that have not got the new values, but for those of stacks that
// nobody may change.
func (f *follower) behind() []string {
	var list []string
	for i := range f.stacks {
		s := &f.stacks[i]
		if _, held := f.obs.Holds[s.Name]; held || f.denied[s.Name] {
			continue
		}
		for _, svc := range s.Services {
			for _, c := range f.obs.Containers {
				if c.Name == svc.Name && plan.Carried(c) != plan.SecretDigest(&svc, &svc.Replicas[0], f.values) {
					list = append(list, c.Name)
				}
			}
		}
	}
	return list
}

// TestFollowersEnd: whoever keeps what others need, whichever stacks are held or denied,
// everybody else gets the new values, and nobody waits for the time to pass.
func TestFollowersEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFollower(t)
		f.run(t)
		for _, s := range f.stacks {
			switch rapid.IntRange(0, 5).Draw(t, s.Name) {
			case 0:
				f.obs.Holds[s.Name] = api.Hold{Why: "work"}
			case 1:
				f.denied[s.Name] = true
			}
		}
		f.rotated()
		f.run(t)
		if late := f.behind(); len(late) > 0 {
			t.Fatalf("%v wait for ever; %s", late, f.told())
		}
	})
}

func (f *follower) told() (out string) {
	for i := range f.stacks {
		p := f.plan(&f.stacks[i])
		out += fmt.Sprintf("stack %s: %s%s\n", p.Stack, p, p.Status.Message)
	}
	return out
}

// TestFollowersInOrder: a stack that keeps nothing comes after those who use the secret in
// the stack that keeps it.
func TestFollowersInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFollower(t)
		f.run(t)
		f.rotated()
		f.run(t)
		for i := range f.stacks {
			for _, svc := range f.stacks[i].Services {
				if !keepsAny(&f.stacks[i]) {
					f.comesAfter(t, &svc)
				}
			}
		}
	})
}

func keepsAny(s *api.Stack) bool {
	return slices.ContainsFunc(s.Services, func(svc api.Service) bool { return len(svc.Keeps) > 0 })
}

func (f *follower) comesAfter(t *rapid.T, svc *api.Service) {
	at := slices.Index(f.order, svc.Name)
	for i := range f.stacks {
		keeper := &f.stacks[i]
		ref := secretOf(keeper.Name)
		if !keepsAny(keeper) || !slices.Contains(svc.Replicas[0].SecretRefs, ref) {
			continue
		}
		for _, other := range keeper.Services {
			if len(other.Keeps) == 0 && slices.Contains(other.Replicas[0].SecretRefs, ref) && slices.Index(f.order, other.Name) > at {
				t.Fatalf("%s came before %s: %v", svc.Name, other.Name, f.order)
			}
		}
	}
}
