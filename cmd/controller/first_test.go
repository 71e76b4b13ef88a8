package main

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestPushDeploys is the way of a first user: init, run, join, git push.
func TestPushDeploys(t *testing.T) {
	s := newSite(t)
	agents := s.agents("a", "b", "c")
	bad := state()
	bad["nodes/c.yaml"] = strings.Replace(bad["nodes/c.yaml"], "stacks:", "stakcs:", 1)
	bad["fleet.yaml"] = strings.Replace(bad["fleet.yaml"], "[b]", "[d]", 1)
	s.write("a mistake", bad)
	out, err := s.push()
	for _, want := range []string{`nodes/c.yaml:7:3: spec.stakcs: unknown field (did you mean "stacks"?)`, "fleet.yaml:6:62: spec.rollout.waves[1].nodes[0]: there is no node d"} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("a push with mistakes: %v\n%s\nwant: %s", err, out, want)
		}
	}
	if n, _ := agents["a"].Received(); n > 0 {
		t.Error("a refused push reaches a node")
	}
	leaky := state()
	leaky["stacks/core/tls.pem"] = "-----BEGIN EC PRIVATE" + " KEY-----\n"
	s.write("a key beside a Compose file", leaky)
	if out, err := s.push(); err == nil || !strings.Contains(out, "remote: stacks/core/tls.pem:1:1: holds a secret in plain text") {
		t.Errorf("a push with a private key: %v\n%s", err, out)
	}
	leak := s.mustGit("rev-parse", "--short=10", "HEAD")
	s.mustGit("rm", "--quiet", "stacks/core/tls.pem")
	s.mustGit("commit", "--quiet", "--message", "without the key")
	if out, err := s.push(); err == nil || !strings.Contains(out, "remote: stacks/core/tls.pem:1:1: commit "+leak+" holds a secret in plain text: deleting it later") {
		t.Errorf("a push with a private key in its history: %v\n%s", err, out)
	}
	s.mustGit("reset", "--quiet", "--hard", "HEAD~2")
	revision := s.write("the first", state())
	out, err = s.push()
	for _, want := range []string{"wave core: a converged 1/1", "wave canary: b converged 1/1", "wave rest: c converged 1/1", "rollout of " + revision[:12] + ": succeeded"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("push: %v\n%s\nwant: %s", err, out, want)
		}
	}
	if strings.Index(out, "wave canary") < strings.Index(out, "wave core: a converged") {
		t.Errorf("the waves are not in order:\n%s", out)
	}
	for name, a := range agents {
		if got, _ := a.Revision(); got != revision {
			t.Errorf("%s has %q", name, got)
		}
	}
	fleet, err := s.fleet.GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{})
	must(t, err)
	if fleet.GetName() != "home" || fleet.GetHead().GetRevision() != revision || fleet.GetHead().GetOutcome() != "succeeded" || len(fleet.GetNodes()) != 3 {
		t.Errorf("fleet: %v", fleet)
	}
	history, err := s.fleet.History(t.Context(), &ktrdrv1.HistoryRequest{})
	must(t, err)
	if c := history.GetCommits(); len(c) != 2 || c[0].GetSubject() != "the first" || c[0].GetAuthor() != "Karl <karl@example.org>" || c[0].GetBy() != "admin" {
		t.Errorf("history: %v", c)
	}
	changed := state()
	changed["README.md"] = "more\n"
	s.write("the second", changed)
	if out, err := s.push(); err != nil {
		t.Fatal(out)
	}
	history, err = s.fleet.History(t.Context(), &ktrdrv1.HistoryRequest{})
	must(t, err)
	// The first of all was never the head.
	if c := history.GetCommits(); len(c) != 3 || c[0].GetBy() != "admin" || c[1].GetBy() != "admin" || !c[1].GetAccepted().IsValid() || c[2].GetBy() != "" {
		t.Errorf("history after another push: %v", c)
	}
}

// TestScale is acceptance scenario 17: the commit, its place, the refusal, the targets.
func TestScale(t *testing.T) {
	s := newSite(t)
	running := func(stack string) []*ktrdrv1.ServiceStatus {
		if stack != "workers" {
			return nil
		}
		return []*ktrdrv1.ServiceStatus{
			{Service: "worker-1", Container: "worker-1", State: "running", Health: "healthy"},
			{Service: "worker-2", Container: "worker-2", State: "running"},
			{Service: "worker-3", Container: "worker-3", State: "exited"},
		}
	}
	b := &agenttest.Agent{Name: "b", Services: running}
	s.agent(b)
	s.agent(&agenttest.Agent{Name: "a"})
	s.agent(&agenttest.Agent{Name: "c"})
	s.await("all agents are connected", func() bool { return s.connected() == 3 })
	s.write("the first", state())
	if out, err := s.push(); err != nil {
		t.Fatal(out)
	}
	targets := func() []string {
		var groups []struct {
			Targets []string
			Labels  map[string]string
		}
		code, body := s.get("/v1/sd/prometheus", s.token)
		if err := json.Unmarshal([]byte(body), &groups); err != nil || code != 200 {
			t.Fatalf("%d %s: %v", code, body, err)
		}
		var out []string
		for _, g := range groups {
			out = append(out, g.Targets[0]+" "+g.Labels["node"]+" "+g.Labels["stack"]+" "+g.Labels["pool"]+" "+g.Labels["slot"])
		}
		return out
	}
	if got := strings.Join(targets(), "\n"); got != "b.example:5003 b workers backtest 1" {
		t.Errorf("targets before:\n%s", got)
	}
	dry, err := s.fleet.Scale(t.Context(), &ktrdrv1.ScaleRequest{Pool: "backtest", Node: "b", Count: 2, DryRun: true})
	must(t, err)
	if dry.GetRevision() != "" || !strings.Contains(dry.GetDiff(), "+    backtest: 2") || strings.Join(dry.GetNodes(), " ") != "b" || len(dry.GetWarnings()) == 0 {
		t.Errorf("dry run: %v", dry)
	}
	_, err = s.fleet.Scale(t.Context(), &ktrdrv1.ScaleRequest{Pool: "backtest", Node: "c", Count: 3})
	refused := refusalOf(err)
	if status.Code(err) != codes.FailedPrecondition || refused == nil || len(refused.GetProblems()) != 1 || refused.GetProblems()[0].GetFile() != "nodes/c.yaml" || refused.GetProblems()[0].GetLine() != 6 {
		t.Errorf("three times 3 GB fit into 7 GB: %v %v", err, refused)
	}
	made, err := s.fleet.Scale(t.Context(), &ktrdrv1.ScaleRequest{Pool: "backtest", Node: "b", Count: 2, Why: "more work"})
	must(t, err)
	rollout := s.follow(made.GetRevision())
	if rollout.GetPhase() != "succeeded" || len(rollout.GetWaves()) != 1 || rollout.GetWaves()[0].GetName() != "canary" {
		t.Errorf("rollout: %v", rollout)
	}
	if got := b.File("nodes/b.yaml"); !strings.Contains(got, "# the operator's own comment\n    backtest: 2") {
		t.Errorf("b has\n%s", got)
	}
	s.await("the targets follow", func() bool {
		return strings.Join(targets(), "\n") == "b.example:5003 b workers backtest 1\nb.example:5004 b workers backtest 2"
	})
	s.mustGit("pull", "--quiet", "desired-state", "main")
	if log := s.mustGit("log", "-1", "--format=%an|%B"); !strings.HasPrefix(log, "admin|") || !strings.Contains(log, "more work") {
		t.Errorf("the commit: %s", log)
	}
	if code, _ := s.get("/v1/sd/prometheus", ""); code != 401 {
		t.Errorf("a stranger gets the targets: %d", code)
	}
	back, err := s.fleet.Rollback(t.Context(), &ktrdrv1.RollbackRequest{})
	must(t, err)
	if r := s.follow(back.GetRevision()); r.GetPhase() != "succeeded" {
		t.Errorf("rollback: %v", r)
	}
	if got := b.File("nodes/b.yaml"); !strings.Contains(got, "backtest: 1") {
		t.Errorf("after the rollback b has\n%s", got)
	}
	deployed, err := s.fleet.Deploy(t.Context(), &ktrdrv1.DeployRequest{Stack: "core", Services: []string{"backend"}, Tag: "sha-a1b2c3d"})
	must(t, err)
	if strings.Join(deployed.GetNodes(), " ") != "a" || s.follow(deployed.GetRevision()).GetPhase() != "succeeded" {
		t.Errorf("deploy: %v", deployed)
	}
}

func refusalOf(err error) *ktrdrv1.Refusal {
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*ktrdrv1.Refusal); ok {
			return r
		}
	}
	return nil
}

// follow watches a rollout to its end.
func (s *site) follow(revision string) *ktrdrv1.Rollout {
	s.t.Helper()
	stream, err := s.fleet.WatchRollout(s.t.Context(), &ktrdrv1.WatchRolloutRequest{Revision: revision})
	must(s.t, err)
	var last *ktrdrv1.Rollout
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last
		}
		must(s.t, err)
		last = r
	}
}
