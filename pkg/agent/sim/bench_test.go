package sim_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/agent/apply"
	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/agent/reconcile"
	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// fleetSize is how the containers of a node are spread over its stacks.
type fleetSize struct{ stacks, services int }

// BenchmarkNoOpRound measures one turn of the loop over all stacks of a converged node, from
// the ring of the bell to the last report, and fails when it calls the engine.
func BenchmarkNoOpRound(b *testing.B) {
	for _, size := range []fleetSize{{1, 50}, {5, 10}, {1, 500}, {10, 50}} {
		b.Run(fmt.Sprintf("containers=%d/stacks=%d", size.stacks*size.services, size.stacks), func(b *testing.B) {
			n := newIdleNode(b, size)
			b.ReportAllocs()
			n.fake.ResetCalls()
			for b.Loop() {
				n.loop.Ring("")
				n.awaitRound(b)
			}
			calls := len(n.fake.Calls())
			b.ReportMetric(float64(calls)/float64(b.N), "calls/op")
			if calls > 0 {
				b.Fatalf("rounds without a change made %d calls", calls)
			}
		})
	}
}

// idleNode is an agent in real time whose stacks are all converged.
type idleNode struct {
	fake    *enginetest.Fake
	loop    *reconcile.Loop
	stacks  int
	planned chan bool
	*report.Report
}

// Planned tells the benchmark of each plan once the report, as in the agent, has taken it.
func (n *idleNode) Planned(stack string, p *plan.Plan, took time.Duration) {
	n.Report.Planned(stack, p, took)
	n.planned <- p.Status.Converged && !slices.ContainsFunc(p.Ops, func(op plan.Op) bool { return !op.Background })
}

func newIdleNode(b *testing.B, size fleetSize) *idleNode {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	n := &idleNode{
		fake: enginetest.New(1), stacks: size.stacks, planned: make(chan bool, 100_000),
		Report: report.New(report.Config{Node: "a", Log: log}),
	}
	n.fake.AddImage("img:1", api.Image{Config: api.ContainerSpec{
		Env: []string{"PATH=/usr/bin", "LANG=C.UTF-8"}, Entrypoint: []string{"/init"}, WorkingDir: "/app",
	}})
	cache := observe.New(n.fake, observe.Config{Logger: log, ProcRoot: "/nonexistent"})
	exec := apply.New(apply.Config{
		Engine: n.fake, Cache: cache, World: cache, Memory: newMemory(), Secrets: noSecrets{},
		Files: noFiles{}, Checker: checker{&node{}}, Log: log,
	})
	n.loop = reconcile.New(reconcile.Config{
		World: cache, Applier: exec, Secrets: noSecrets{}, Report: n, Log: log, Limits: reconcile.DefaultLimits(),
	})
	cache.Subscribe(n.loop.Ring)
	ctx, cancel := context.WithCancel(b.Context())
	var g errgroup.Group
	g.Go(func() error { return cache.Run(ctx) })
	g.Go(func() error { return n.loop.Run(ctx) })
	b.Cleanup(func() {
		cancel()
		_ = g.Wait()
	})
	d := fleet(size)
	for i := range d.Stacks { // as the loader does
		d.Stacks[i].Digest = d.Stacks[i].SumDigest()
	}
	n.SetDesired(d, time.Now())
	n.loop.SetDesired(d)
	n.awaitIdle(b)
	return n
}

// awaitRound waits for one plan of each stack.
func (n *idleNode) awaitRound(b *testing.B) {
	for range n.stacks {
		if !<-n.planned {
			b.Fatal("a stack is no longer converged")
		}
	}
}

// awaitIdle waits until every stack was found converged and nothing rings any more.
func (n *idleNode) awaitIdle(b *testing.B) {
	b.Helper()
	limit := time.After(2 * time.Minute)
	for good := 0; good < n.stacks; {
		select {
		case converged := <-n.planned:
			good++
			if !converged {
				good = 0
			}
		case <-time.After(time.Second):
			n.loop.Ring("")
		case <-limit:
			b.Fatal("the stacks do not converge")
		}
	}
	for {
		select {
		case <-n.planned:
		case <-time.After(time.Second):
			return
		}
	}
}

// fleet makes services that use what services of real Compose files use.
func fleet(size fleetSize) *api.Desired {
	d := &api.Desired{Revision: "r1", Node: "a"}
	for s := range size.stacks {
		project := fmt.Sprintf("p%d", s)
		stack := api.Stack{
			Name: project, Project: project,
			Networks: []api.NetworkSpec{{Key: "default", Name: project + "_default", Driver: "bridge"}},
			Volumes:  []api.VolumeSpec{{Key: "data", Name: project + "_data"}},
		}
		for i := range size.services {
			stack.Services = append(stack.Services, fleetService(project, i))
		}
		d.Stacks = append(d.Stacks, stack)
	}
	return d
}

func fleetService(project string, i int) api.Service {
	name := fmt.Sprintf("s%03d", i)
	svc := service(name, func(svc *api.Service, s *api.ContainerSpec) {
		svc.OwnHealthcheck = true
		if i%10 != 0 {
			svc.DependsOn = []api.Dependency{{Service: fmt.Sprintf("s%03d", i-i%10), Condition: api.ServiceHealthy, Required: true}}
		}
		s.Endpoints[0].Network = project + "_default"
		s.Command = []string{"serve", "--port", "8000"}
		for v := range 12 {
			s.Env = append(s.Env, fmt.Sprintf("SETTING_%02d=value-%d", v, i))
		}
		s.Labels = map[string]string{"team": "research", "tier": "backend"}
		s.Mounts = []api.Mount{{Type: api.MountVolume, Source: project + "_data", Target: "/data"}}
		s.Healthcheck = &api.Healthcheck{Test: []string{"CMD", "true"}, Interval: time.Hour, Retries: 3}
		s.Resources = api.Resources{Memory: 512 << 20, NanoCPUs: 5e8}
	})
	svc.Replicas[0].Name = project + "-" + name + "-1"
	return svc
}
