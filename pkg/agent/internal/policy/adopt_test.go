package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/policy"
	"ktrdr.io/fleet/pkg/api"
)

// TestAdopt: containers of others are taken over only where project and folder are listed.
func TestAdopt(t *testing.T) {
	p := parse(t, base+"adopt: [\"core:/opt/core\", \"job-*:/srv/*\"]\n")
	for _, c := range []struct {
		project, folder string
		want            []string
	}{
		{"core", "/opt/core", nil},
		{"job-1", "/srv/a", nil},
		{"job-1", "/srv/a/b", []string{"adopt adoptFrom"}},
		{"core", "/opt/core2", []string{"adopt adoptFrom"}},
		{"other", "/opt/core", []string{"adopt adoptFrom"}},
		{"core", "/opt/core/../other", []string{"adopt adoptFrom"}},
	} {
		s := stackOf(func(*api.ContainerSpec) {})
		s.Project, s.AdoptFrom = c.project, []string{c.folder}
		if diff := cmp.Diff(c.want, rules(p.Check(s, policy.Host{}))); diff != "" {
			t.Errorf("project %s of %s: %s", c.project, c.folder, diff)
		}
		s.AdoptFrom = nil
		if found := p.Check(s, policy.Host{}); len(found) > 0 {
			t.Errorf("a project that adopts nothing: %v", found)
		}
	}
	s := stackOf(func(*api.ContainerSpec) {})
	s.Project, s.AdoptFrom = "web", []string{"/opt/web"}
	found := parse(t, base).Check(s, policy.Host{})
	if len(found) != 1 || found[0].Fix != "`- web:/opt/web` under adopt" {
		t.Errorf("without the section: %+v", found)
	}
	if again := parse(t, base+"adopt:\n  - web:/opt/web\n").Check(s, policy.Host{}); len(again) > 0 {
		t.Errorf("the fix does not mend it: %v", again)
	}
}
