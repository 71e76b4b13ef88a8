package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestStoreMoves goes the ways of docs/operations.md: from an embedded store and a hosted
// repository to an external cluster and a remote repository, on a machine that has nothing of
// the old one but the authority, and back again. Nodes don't join again, nothing that was
// decided is lost, and nothing is sent twice.
func TestStoreMoves(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short leaves out two controllers and an etcd")
	}
	s := newSite(t)
	agents := s.agents("a", "b", "c")
	s.write("the first", state())
	if out, err := s.push(); err != nil {
		t.Fatal(out)
	}
	made, err := s.fleet.Scale(t.Context(), &ktrdrv1.ScaleRequest{Pool: "backtest", Node: "b", Count: 2, Why: "more work"})
	must(t, err)
	s.settleOn(agents, made.GetRevision())
	_, err = s.access.CreateOperator(t.Context(), &ktrdrv1.CreateOperatorRequest{Operator: &ktrdrv1.Operator{Name: "vera", Role: "viewer"}})
	must(t, err)
	_, err = s.nodes.Cordon(t.Context(), &ktrdrv1.CordonRequest{Node: "c", Why: "a new disk"})
	must(t, err)
	token := s.joinToken("a")
	remote := s.remote()

	before := s.memory()
	file := s.backup() // while it runs
	s.stop()
	endpoint := etcd(t)
	follow := fmt.Sprintf("etcd: {external: {endpoints: [%q], prefix: /home/}}\nrepository:\n  follow: {url: https://%s/git/desired-state.git, pollInterval: 1h, username: x, tokenFile: %s, caFile: %s}\n",
		endpoint, remote.addr, filepath.Join(remote.dir, "token"), filepath.Join(remote.dir, "ca.pem"))
	s.elsewhere("external", follow)
	said := s.restore(file)
	for _, want := range []string{"Nodes: 3, operators: 2, accepted revision " + made.GetRevision(), "Join tokens are left out", "The branch of https://" + remote.addr} {
		if !strings.Contains(said, want) {
			t.Errorf("restore says\n%s\nwant: %s", said, want)
		}
	}
	s.start()
	s.await("all nodes are back, without a join", func() bool { return s.connected() == 3 })
	s.sameMemory(before)
	s.refusesToken(token)
	for name, a := range agents {
		if n, _ := a.Received(); n > 2 {
			t.Errorf("%s got %d slices of two revisions", name, n)
		}
	}
	_, err = s.nodes.Uncordon(t.Context(), &ktrdrv1.UncordonRequest{Node: "c"})
	must(t, err)
	deployed, err := s.fleet.Deploy(t.Context(), &ktrdrv1.DeployRequest{Stack: "core", Services: []string{"backend"}, Tag: "t2"})
	must(t, err)
	if got := remote.head(); got != deployed.GetRevision() {
		t.Errorf("the remote has %s, the change is %s", got, deployed.GetRevision())
	}
	s.settleOn(agents, deployed.GetRevision())

	before = s.memory()
	file = s.backup()
	s.stop()
	s.elsewhere("embedded", "")
	if said := s.restore(file); !strings.Contains(said, "MISSING: The hosted repository in "+s.state("repository")+" does not have the accepted revision "+deployed.GetRevision()) {
		t.Errorf("restore without the repository says\n%s", said)
	}
	must(t, os.MkdirAll(s.state("repository"), 0o700))
	if out, err := remote.gitAs(remote.token, "clone", "--quiet", "--bare", "https://"+remote.addr+"/git/desired-state.git", s.state("repository", "desired-state.git")); err != nil {
		t.Fatal(out)
	}
	s.start()
	s.await("all nodes are back in the embedded store", func() bool { return s.connected() == 3 })
	s.sameMemory(before)
	s.mustGit("pull", "--quiet", "desired-state", "main")
	last := s.write("the last", map[string]string{"README.md": "more\n", "nodes/c.yaml": strings.Replace(state()["nodes/c.yaml"], "6500M", "6600M", 1)})
	if out, err := s.push(); err != nil || !strings.Contains(out, "rollout of "+last[:12]+": succeeded") {
		t.Errorf("push: %v\n%s", err, out)
	}
}

// remote is a repository elsewhere with what the site has accepted, as it comes there by a push.
func (s *site) remote() *site {
	s.t.Helper()
	r := newSite(s.t)
	r.mustGit("status")
	r.workdir = s.workdir
	must(s.t, os.WriteFile(filepath.Join(r.dir, "token"), []byte(r.token), 0o600))
	s.mustGit("pull", "--quiet", "desired-state", "main")
	r.agents("a", "b", "c") // else a push waits for them
	if out, err := r.gitAs(r.token, "push", "https://"+r.addr+"/git/desired-state.git", "main"); err != nil {
		s.t.Fatal(out)
	}
	if r.head() != s.head() {
		s.t.Fatalf("the remote has %s, the fleet %s", r.head(), s.head())
	}
	return r
}

// elsewhere gives the site a new state folder, with the authority only, and another store.
func (s *site) elsewhere(name, more string) {
	s.t.Helper()
	s.dirOfState = filepath.Join(s.dir, name)
	must(s.t, os.MkdirAll(s.state("authority"), 0o700))
	for _, file := range []string{"ca.crt", "ca.key"} {
		content, err := os.ReadFile(filepath.Join(s.dir, "state", "authority", file))
		must(s.t, err)
		must(s.t, os.WriteFile(s.state("authority", file), content, 0o600))
	}
	must(s.t, os.WriteFile(s.config, fmt.Appendf(nil, "listen: %s\nips: [127.0.0.1]\nstateDir: %s\nmetrics: %s\n%s", s.addr, s.state(), s.metrics, more), 0o600))
}

// state is a path in the state folder.
func (s *site) state(names ...string) string {
	dir := s.dirOfState
	if dir == "" {
		dir = filepath.Join(s.dir, "state")
	}
	return filepath.Join(append([]string{dir}, names...)...)
}

func (s *site) backup() string {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "backup")
	out, err := s.command("backup", "--config", s.config, "--out", file).CombinedOutput()
	if err != nil {
		s.t.Fatalf("backup: %v\n%s", err, out)
	}
	return file
}

func (s *site) restore(file string) string {
	s.t.Helper()
	out, err := s.command("restore", "--config", s.config, "--from", file).CombinedOutput()
	if err != nil {
		s.t.Fatalf("restore: %v\n%s", err, out)
	}
	return string(out)
}

// memory is what a fleet must not lose.
type memory struct {
	Head                                      string
	Commits, Rollout, Nodes, Operators, Audit []string
}

func (s *site) memory() memory {
	s.t.Helper()
	fleet, err := s.fleet.GetFleet(s.t.Context(), &ktrdrv1.GetFleetRequest{})
	must(s.t, err)
	history, err := s.fleet.History(s.t.Context(), &ktrdrv1.HistoryRequest{})
	must(s.t, err)
	operators, err := s.access.ListOperators(s.t.Context(), &ktrdrv1.ListOperatorsRequest{})
	must(s.t, err)
	audit, err := s.access.ListAudit(s.t.Context(), &ktrdrv1.ListAuditRequest{})
	must(s.t, err)
	m := memory{Head: fleet.GetHead().String()}
	for _, wave := range fleet.GetRollout().GetWaves() {
		m.Rollout = append(m.Rollout, fmt.Sprint(fleet.GetRollout().GetRevision(), fleet.GetRollout().GetPhase(), wave.GetName(), wave.GetPhase()))
	}
	for _, n := range fleet.GetNodes() {
		m.Nodes = append(m.Nodes, fmt.Sprint(n.GetName(), n.GetCordon(), n.GetTarget(), n.GetAccepted()))
	}
	for _, c := range history.GetCommits() {
		m.Commits = append(m.Commits, fmt.Sprint(c.GetRevision(), c.GetSubject(), c.GetBy(), c.GetOutcome(), c.GetAccepted()))
	}
	for _, o := range operators.GetOperators() {
		m.Operators = append(m.Operators, fmt.Sprint(o.GetName(), o.GetRole(), o.GetCreated(), o.GetCreatedBy()))
	}
	for _, e := range audit.GetEntries() {
		m.Audit = append(m.Audit, e.String())
	}
	return m
}

// sameMemory wants all of it again. The trail may have grown.
func (s *site) sameMemory(want memory) {
	s.t.Helper()
	if len(want.Commits) < 2 || len(want.Rollout) == 0 || len(want.Nodes) != 3 || len(want.Operators) != 2 || len(want.Audit) < 6 {
		s.t.Fatalf("there is too little to lose: %+v", want)
	}
	got := s.memory()
	got.Audit = got.Audit[max(0, len(got.Audit)-len(want.Audit)):]
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("what the fleet knows (-before +after):\n%s", diff)
	}
}

func (s *site) joinToken(node string) pki.JoinToken {
	s.t.Helper()
	made, err := s.nodes.CreateJoinToken(s.t.Context(), &ktrdrv1.CreateJoinTokenRequest{Node: node})
	must(s.t, err)
	token, err := pki.ParseJoinToken(made.GetJoinToken())
	must(s.t, err)
	return token
}

func (s *site) refusesToken(token pki.JoinToken) {
	s.t.Helper()
	keys, err := pki.OpenKeyStore(filepath.Join(s.t.TempDir(), "keys"))
	must(s.t, err)
	if _, _, err = wire.Join(s.t.Context(), wire.Enrollment{Target: s.addr, Token: token, Store: keys, Version: "test"}); err == nil || !strings.Contains(err.Error(), "the join token is not good") {
		s.t.Errorf("a join token of before the restore: %v", err)
	}
}
