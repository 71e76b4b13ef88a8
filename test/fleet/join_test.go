package fleet_test

import (
	"regexp"
	"strings"
	"testing"
)

// TestJoin: what theFleet did was all there is to do. Machines became nodes, a push of the
// sample brought KTRDR to all of them, and said so while it happened.
func TestJoin(t *testing.T) {
	f := theFleet(t).base(t)
	t.Logf("a join says:\n%s", f.joined)
	t.Logf("the first push says:\n%s", f.firstPush)
	for _, wants := range []string{`(?m)^remote: wave core: a converged`, `(?m)^remote: wave canary: b converged`, `(?m)^remote: .*\bc converged`, `(?m)^remote: rollout of [0-9a-f]{12}: succeeded`} {
		if !regexp.MustCompile(wants).MatchString(f.firstPush) {
			t.Errorf("the push does not say %s", wants)
		}
	}
	list := f.karl.ctl(t, 0, "node", "list")
	t.Logf("ktrdrctl node list:\n%s", list)
	for name, hostname := range hostnames {
		if !regexp.MustCompile(`(?m)^` + name + ` .*` + regexp.QuoteMeta(hostname)).MatchString(list) {
			t.Errorf("the list does not have %s", name)
		}
	}
	d := f.firstStatus
	if d.Head.By != "karl" || !strings.Contains(d.Head.Author, "karl@example.org") || d.Rollout.Phase != "succeeded" {
		t.Errorf("head %+v, rollout %+v", d.Head, d.Rollout)
	}
	for name, n := range f.nodes {
		if got := n.run(t, "systemctl", "is-active", "ktrdr-agent"); got != "active" {
			t.Errorf("the agent of %s is %s", name, got)
		}
		foreign, known := n.foreign(stacksOf(name))
		if len(foreign) > 0 || known == 0 {
			t.Errorf("%s has %d files of its own and these of others: %v", name, known, foreign)
		}
	}
	if containers := f.running(t); len(containers) != 10 {
		t.Errorf("%d containers run: %v", len(containers), containers)
	}
}
