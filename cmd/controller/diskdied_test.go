package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDiskDied is the way of docs/operations.md back from a lost machine: backup of the store,
// then a bundle of the repository, and the authority. A push that came after them is made again.
func TestDiskDied(t *testing.T) {
	s := newSite(t)
	agents := s.agents("a", "b", "c")
	first := s.write("the first", state())
	if out, err := s.push(); err != nil {
		t.Fatal(out)
	}
	file, bundle := s.backup(), filepath.Join(s.dir, "repository.bundle")
	if out, err := s.gitAs("", "-C", s.state("repository", "desired-state.git"), "bundle", "create", "--quiet", bundle, "HEAD", "main"); err != nil {
		t.Fatal(out)
	}
	changed := state()
	changed["stacks/core/stack.yaml"] = strings.Replace(changed["stacks/core/stack.yaml"], "TAG: v1", "TAG: v2", 1)
	second := s.write("the second", changed)
	if out, err := s.push(); err != nil {
		t.Fatal(out)
	}
	s.kill()

	s.elsewhere("new", "")
	s.restore(file)
	must(t, os.Mkdir(s.state("repository"), 0o700))
	if out, err := s.gitAs("", "clone", "--quiet", "--bare", bundle, s.state("repository", "desired-state.git")); err != nil {
		t.Fatal(out)
	}
	s.start()
	s.await("all nodes are back, without a join", func() bool { return s.connected() == 3 })
	if got := s.head(); got != first {
		t.Errorf("the head is %s, at the time of the backup it was %s", got, first)
	}
	// The docs say so: nobody knows of the newer one.
	s.await("a is back at the revision of the backup", func() bool { r, _ := agents["a"].Revision(); return r == first })
	if out, err := s.push(); err != nil || !strings.Contains(out, "rollout of "+second[:12]+": succeeded") {
		t.Errorf("the push that was lost: %v\n%s", err, out)
	}
	s.settleOn(agents, second)
	if got := agents["a"].File("stacks/core/stack.yaml"); !strings.Contains(got, "TAG: v2") {
		t.Errorf("a has\n%s", got)
	}
}
