package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestKilledInTheMiddle: a controller that dies while the canary is at work goes on after its
// restart where the rollout stands, and sends nobody anything twice.
func TestKilledInTheMiddle(t *testing.T) {
	s := newSite(t)
	var held atomic.Value
	held.Store("")
	agents := map[string]*agenttest.Agent{}
	for _, name := range []string{"a", "b", "c"} {
		agents[name] = &agenttest.Agent{Name: name, Outcome: func(revision string) agenttest.Outcome {
			if name == "b" && revision == held.Load() {
				return agenttest.Hangs
			}
			return agenttest.Converges
		}}
		s.agent(agents[name])
	}
	s.await("all agents are connected", func() bool { return s.connected() == 3 })
	first := s.write("the first", state())
	if out, err := s.push(); err != nil {
		t.Fatal(out)
	}
	changed := state()
	for _, stack := range []string{"core", "workers"} {
		changed["stacks/"+stack+"/stack.yaml"] = strings.Replace(changed["stacks/"+stack+"/stack.yaml"], "TAG: v1", "TAG: v2", 1)
	}
	second := s.write("the second", changed)
	held.Store(second)
	var pushed said
	var pusher sync.WaitGroup
	pusher.Go(func() { _ = s.gitTo(&pushed, s.token, "push", "desired-state", "main") }) // it is broken off
	s.await("the canary has the revision", func() bool { r, _ := agents["b"].Revision(); return r == second })
	s.await("the pusher sees the wave before", func() bool { return strings.Contains(pushed.String(), "wave core: a ") })
	s.kill()
	pusher.Wait()
	if r, _ := agents["c"].Revision(); r != first {
		t.Errorf("c has %q before the canary is done", r)
	}
	s.start()
	s.await("all agents are back", func() bool { return s.connected() == 3 })
	if r, _ := agents["c"].Revision(); r != first {
		t.Errorf("c has %q after the restart, before the canary is done", r)
	}
	fleet, err := s.fleet.GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{})
	must(t, err)
	if r := fleet.GetRollout(); r.GetRevision() != second || r.GetPhase() != "running" || r.GetWaves()[0].GetPhase() != "succeeded" || r.GetWaves()[2].GetPhase() != "waiting" {
		t.Errorf("after the restart: %v", r)
	}
	held.Store("")
	agents["b"].Say()
	if r := s.follow(second); r.GetPhase() != "succeeded" {
		t.Errorf("the rollout ends %s: %s", r.GetPhase(), r.GetMessage())
	}
	for name, a := range agents {
		if n, _ := a.Received(); n != 2 {
			t.Errorf("%s got %d slices of two revisions", name, n)
		}
		if r, _ := a.Revision(); r != second {
			t.Errorf("%s has %q", name, r)
		}
	}
}

// TestNoUpdateIsLost: pushes, scales and kills of the controller and of connections at random.
// What was said to be accepted is in the history, and in the end all nodes have the last
// revision.
func TestNoUpdateIsLost(t *testing.T) {
	s := newSite(t)
	agents := map[string]*agenttest.Agent{}
	for _, name := range []string{"a", "b", "c"} {
		// Slow enough to be dropped between a slice and its acceptance.
		agents[name] = &agenttest.Agent{Name: name, Pace: 30 * time.Millisecond}
		s.agent(agents[name])
	}
	s.await("all agents are connected", func() bool { return s.connected() == 3 })
	s.write("the first", state())
	if out, err := s.push(); err != nil {
		t.Fatal(out)
	}
	length := 12 * time.Second
	if testing.Short() {
		length = 4 * time.Second
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var accepted sync.Map
	changes := func() (count int) {
		accepted.Range(func(any, any) bool { count++; return true })
		return count
	}
	var work sync.WaitGroup
	for _, node := range []string{"b", "c"} {
		work.Go(func() { s.scaleAtRandom(ctx, node, &accepted) })
	}
	work.Go(func() { s.deployAtRandom(ctx, &accepted) })
	work.Go(func() {
		for ctx.Err() == nil {
			wait(ctx, time.Duration(100+rand.IntN(300))*time.Millisecond)
			agents[[]string{"a", "b", "c"}[rand.IntN(3)]].Drop()
		}
	})
	kills := 0
	// On a slow machine there is no change between the first kills.
	for began := time.Now(); time.Since(began) < length || changes() == 0 && time.Since(began) < patience; kills++ {
		wait(ctx, time.Duration(800+rand.IntN(1200))*time.Millisecond)
		s.kill()
		s.start()
	}
	cancel()
	work.Wait()
	s.await("all agents are back", func() bool { return s.connected() == 3 })
	head := s.settle(agents)
	s.mustGit("fetch", "--quiet", "desired-state", "main")
	history := s.mustGit("log", "--format=%H", "FETCH_HEAD")
	count := changes()
	accepted.Range(func(revision, what any) bool {
		if !strings.Contains(history, revision.(string)) { //nolint:errcheck // stored below
			t.Errorf("%s is accepted as %s and is lost", what, revision)
		}
		return true
	})
	if !strings.HasPrefix(history, head) || count == 0 || kills == 0 {
		t.Errorf("the head %s is not the newest commit, or nothing happened: %d changes, %d kills", head, count, kills)
	}
	t.Logf("%d changes were accepted around %d kills", count, kills)
}

// settle waits until every node has what the newest rollout gives it, and that is the head's.
func (s *site) settle(agents map[string]*agenttest.Agent) string {
	s.t.Helper()
	var head string
	s.await("all nodes have the last revision", func() bool {
		fleet, err := s.fleet.GetFleet(s.t.Context(), &ktrdrv1.GetFleetRequest{})
		if err != nil || fleet.GetRollout().GetPhase() != "succeeded" || fleet.GetRollout().GetRevision() != fleet.GetHead().GetRevision() {
			return false
		}
		head = fleet.GetHead().GetRevision()
		for _, n := range fleet.GetNodes() {
			if !n.GetAccepted() || n.GetTarget() != head {
				return false
			}
		}
		return true
	})
	s.mustGit("fetch", "--quiet", "desired-state", "main")
	for name, a := range agents {
		if want := s.mustGit("show", head+":nodes/"+name+".yaml"); strings.TrimSpace(a.File("nodes/"+name+".yaml")) != want {
			s.t.Errorf("%s has\n%s\nthe head has\n%s", name, a.File("nodes/"+name+".yaml"), want)
		}
	}
	return head
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (s *site) scaleAtRandom(ctx context.Context, node string, accepted *sync.Map) {
	for ctx.Err() == nil {
		count := int32(rand.IntN(3))
		made, err := s.fleet.Scale(ctx, &ktrdrv1.ScaleRequest{Pool: "backtest", Node: node, Count: count})
		s.outcome(made, err, fmt.Sprintf("scale %s to %d", node, count), accepted)
		wait(ctx, 50*time.Millisecond)
	}
}

func (s *site) deployAtRandom(ctx context.Context, accepted *sync.Map) {
	for i := 0; ctx.Err() == nil; i++ {
		made, err := s.fleet.Deploy(ctx, &ktrdrv1.DeployRequest{Stack: "core", Services: []string{"backend"}, Tag: fmt.Sprintf("t%d", i)})
		s.outcome(made, err, fmt.Sprintf("deploy t%d", i), accepted)
		wait(ctx, 50*time.Millisecond)
	}
}

func (s *site) outcome(made *ktrdrv1.ChangeResponse, err error, what string, accepted *sync.Map) {
	switch status.Code(err) {
	case codes.OK:
		if made.GetRevision() != "" {
			accepted.Store(made.GetRevision(), what)
		}
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Aborted:
	default:
		s.t.Errorf("%s: %v", what, err)
	}
}
