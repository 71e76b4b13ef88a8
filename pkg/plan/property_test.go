package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// drawStack makes a random stack whose dependencies have no cycle.
func drawStack(t *rapid.T) *api.Stack {
	stack := &api.Stack{
		Name: "s", Project: "p", AdoptFrom: []string{"/old"},
		Networks: []api.NetworkSpec{{Key: "default", Name: "p_default", Driver: rapid.SampledFrom([]string{"", "bridge"}).Draw(t, "driver")}},
		Volumes:  []api.VolumeSpec{{Key: "data", Name: "p_data"}},
	}
	n := rapid.IntRange(1, 5).Draw(t, "services")
	for i := range n {
		stack.Services = append(stack.Services, drawService(t, i))
	}
	return stack
}

func drawService(t *rapid.T, i int) api.Service {
	name := fmt.Sprintf("svc%d", i)
	svc := api.Service{Name: name, Job: i > 0 && rapid.IntRange(0, 5).Draw(t, "job") == 0}
	svc.Update.Parallelism = rapid.IntRange(0, 2).Draw(t, "parallelism")
	svc.Update.Order = rapid.SampledFrom([]string{"", "start-first"}).Draw(t, "order")
	for d := range i {
		if rapid.IntRange(0, 2).Draw(t, "dep") > 0 {
			continue
		}
		svc.DependsOn = append(svc.DependsOn, api.Dependency{
			Service: fmt.Sprintf("svc%d", d), Required: true, Restart: rapid.Bool().Draw(t, "restart"),
			Condition: rapid.SampledFrom([]string{api.ServiceStarted, api.ServiceHealthy}).Draw(t, "condition"),
		})
	}
	spec := drawSpec(t, i)
	replicas := rapid.IntRange(1, 3).Draw(t, "replicas")
	for r := 1; r <= replicas; r++ {
		rep := api.Replica{Number: r, Name: fmt.Sprintf("p-%s-%d", name, r), Spec: spec}
		if rapid.IntRange(0, 3).Draw(t, "port") == 0 {
			rep.Spec.Ports = []api.Port{{Published: fmt.Sprint(5000 + 10*i + r), Target: 80, Protocol: "tcp"}}
		}
		if len(rep.Spec.Env) > 0 {
			rep.SecretRefs = api.References(rep.Spec.Env[0])
		}
		rep.SpecHash = rep.Spec.Hash()
		svc.Replicas = append(svc.Replicas, rep)
	}
	return svc
}

func drawSpec(t *rapid.T, i int) api.ContainerSpec {
	spec := api.ContainerSpec{
		Image:    rapid.SampledFrom([]string{"img:1", "img:2"}).Draw(t, "image"),
		Hostname: rapid.SampledFrom([]string{"", "h1", "h2"}).Draw(t, "hostname"),
		Restart:  api.RestartPolicy{Name: "always"},
	}
	if i > 0 && rapid.IntRange(0, 6).Draw(t, "share") == 0 {
		spec.NetworkMode = "service:svc0"
	} else {
		spec.Endpoints = []api.Endpoint{{Network: "p_default", Aliases: []string{fmt.Sprintf("svc%d", i)}}}
	}
	if rapid.Bool().Draw(t, "health") {
		spec.Healthcheck = &api.Healthcheck{Test: []string{"CMD", "true"}}
	}
	if rapid.IntRange(0, 4).Draw(t, "secret") == 0 {
		spec.Env = []string{"PASSWORD=" + api.Placeholder("op://v/i/f")}
	}
	if rapid.IntRange(0, 4).Draw(t, "file") == 0 {
		spec.Files = []api.File{{Target: "/x", Content: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "content")}}
	}
	if rapid.IntRange(0, 3).Draw(t, "volume") == 0 {
		spec.Mounts = []api.Mount{{Type: api.MountVolume, Source: "p_data", Target: "/data"}}
	}
	return spec
}

// addForeign puts objects of others on the engine: they must survive everything.
func addForeign(m *model) []string {
	var ids []string
	for i, labels := range []map[string]string{
		{},
		{api.LabelProject: "p", api.LabelService: "svc0", api.LabelNumber: "1", api.LabelWorkingDir: "/elsewhere"},
		{api.LabelProject: "p", api.LabelService: "svc1", api.LabelNumber: "1", api.LabelOneoff: "True", api.LabelWorkingDir: "/old"},
		{api.LabelStack: "other", api.LabelProject: "q", api.LabelService: "svc0", api.LabelNumber: "1"},
	} {
		id := m.id("f")
		m.obs.Containers[id] = &api.Container{
			ID: id, Name: fmt.Sprintf("foreign-%d", i), Labels: labels, State: api.StateRunning, StartedAt: start,
			Facts: api.ContainerFacts{WritableBytes: -1},
		}
		ids = append(ids, id)
	}
	return ids
}

// wound hurts the stack as people, engines and bad luck do.
func wound(t *rapid.T, m *model) {
	for _, id := range slices.Sorted(maps.Keys(m.obs.Containers)) {
		old := m.obs.Containers[id]
		if old.Labels[api.LabelStack] != "s" {
			continue
		}
		c := *old
		c.Attached = maps.Clone(old.Attached)
		m.obs.Containers[id] = &c
		switch rapid.IntRange(0, 9).Draw(t, "wound") {
		case 0:
			delete(m.obs.Containers, id)
		case 1:
			c.State, c.ExitCode, c.FinishedAt, c.Facts.Interrupted = api.StateExited, 137, m.now, true
		case 2:
			if c.State == api.StateRunning { // nobody can pause what does not run
				c.State = api.StatePaused
			}
		case 3:
			c.Name += "-renamed"
		case 4:
			clear(c.Attached)
		case 5:
			c.Spec.Resources.Memory = 1 << 20
		case 6:
			c.Labels = maps.Clone(c.Labels)
			c.Labels[api.LabelSpecHash] = "v1:other"
			c.Spec.Hostname = "edited"
		case 7:
			c.State = api.StateDead
		}
	}
}

// TestConverges: from any state the plan leads to an empty plan and a converged status,
// with one running container for each replica, and foreign objects untouched.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		foreign := addForeign(m)
		for range 3 {
			stack := drawStack(t)
			wound(t, m)
			p, err := m.run(stack)
			if err != nil {
				t.Fatalf("does not converge: %v", err)
			}
			if len(p.Ops) > 0 || !p.Status.Converged {
				t.Fatalf("is not converged at the end: %s: %s\n%s", p.Status.Reason, p.Status.Message, p)
			}
			checkRunning(t, m, stack)
			for _, id := range foreign {
				if c := m.obs.Containers[id]; c == nil || c.State != api.StateRunning {
					t.Fatalf("foreign container %s was touched", id)
				}
			}
			m.now = m.now.Add(time.Hour)
		}
	})
}

func checkRunning(t *rapid.T, m *model, stack *api.Stack) {
	want := map[string]string{}
	for _, svc := range stack.Services {
		for _, r := range svc.Replicas {
			want[r.Name] = r.SpecHash
		}
	}
	for _, c := range m.obs.Containers {
		if c.Labels[api.LabelStack] != stack.Name {
			continue
		}
		hash, ok := want[c.Name]
		if !ok {
			t.Fatalf("container %s is not wanted", c.Name)
		}
		if c.SpecHash() != hash {
			t.Fatalf("container %s has spec %s, wanted %s", c.Name, c.SpecHash(), hash)
		}
		delete(want, c.Name)
	}
	for name := range want {
		svc := name[len("p-") : len(name)-2]
		if s := stack.Service(svc); s == nil || !s.Job {
			t.Fatalf("container %s is missing", name)
		}
	}
}

// TestDeterministic: the same input gives the same plan, whatever the order of maps.
func TestDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		addForeign(m)
		if _, err := m.run(drawStack(t)); err != nil {
			t.Fatal(err)
		}
		wound(t, m)
		stack := drawStack(t)
		first := m.build(stack)
		for range 5 {
			if diff := cmp.Diff(first.String(), m.build(stack).String()); diff != "" {
				t.Fatalf("the plan differs between two builds:\n%s", diff)
			}
		}
	})
}

// TestForeignNeverNamed: no operation acts on what is not ours.
func TestForeignNeverNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		foreign := addForeign(m)
		if rapid.Bool().Draw(t, "empty") {
			checkForeign(t, m.build(&api.Stack{Name: "s", Project: "p"}), foreign)
		}
		stack := drawStack(t)
		if _, err := m.run(stack); err != nil {
			t.Fatal(err)
		}
		wound(t, m)
		checkForeign(t, m.build(drawStack(t)), foreign)
	})
}

func checkForeign(t *rapid.T, p *plan.Plan, foreign []string) {
	for _, op := range p.Ops {
		if slices.Contains(foreign, op.ID) || slices.Contains(foreign, op.Replaces) {
			t.Fatalf("the plan names a foreign container: %s", op.String())
		}
	}
}

// TestNothingBeforeComplete: an incomplete observation plans nothing at all.
func TestNothingBeforeComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		if _, err := m.run(drawStack(t)); err != nil {
			t.Fatal(err)
		}
		m.obs.Complete = false
		if p := m.build(&api.Stack{Name: "s", Project: "p"}); len(p.Ops) > 0 {
			t.Fatalf("plans on an incomplete observation:\n%s", p)
		}
	})
}

// TestNeedsInOrder: every need of an operation stands before it in the plan.
func TestNeedsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		if _, err := m.run(drawStack(t)); err != nil {
			t.Fatal(err)
		}
		wound(t, m)
		seen := map[string]bool{}
		for _, op := range m.build(drawStack(t)).Ops {
			for _, n := range op.Needs {
				if !seen[n] {
					t.Fatalf("%s needs %s, which does not stand before it", op.Key, n)
				}
			}
			if seen[op.Key] {
				t.Fatalf("%s stands in the plan twice", op.Key)
			}
			seen[op.Key] = true
		}
	})
}
