package fleet_test

import (
	"regexp"
	"testing"
)

// TestRefusals is acceptance scenario 6 and what else never gets past the gate: a push with
// a mistake is refused with its place, before any node, and nothing changes anywhere.
func TestRefusals(t *testing.T) {
	f := theFleet(t).base(t)
	f.tellsNothing(t, "before")
	before, head := f.running(t), f.karl.status(t).Head.Revision
	const secret = "hunter2-Zp81mQ"
	for _, r := range []struct {
		name  string
		edits []edit
		wants string
	}{
		{
			"misspelt variable",
			[]edit{{"stacks/workers/compose.yaml", "      KTRDR_WORKER_TYPE: training\n", "      KTRDR_WORKER_TYP: training\n"}},
			`(?m)^remote: .*stacks/workers/(compose|stack)\.yaml:\d+:\d+: \S+: .*KTRDR_WORKER_TYPE`,
		},
		{
			"old variable",
			[]edit{{"stacks/workers/compose.yaml", "      KTRDR_WORKER_TYPE: training\n", "      KTRDR_WORKER_TYPE: training\n      WORKER_TYPE: training\n"}},
			`(?m)^remote: .*stacks/workers/(compose|stack)\.yaml:\d+:\d+: \S+: .*WORKER_TYPE.*KTRDR_WORKER_TYPE`,
		},
		{
			"value outside the list",
			[]edit{{"stacks/core/compose.yaml", "KTRDR_LOG_LEVEL: INFO", "KTRDR_LOG_LEVEL: CHATTY"}},
			`(?m)^remote: .*stacks/core/(compose|stack)\.yaml:\d+:\d+: \S+: .*KTRDR_LOG_LEVEL`,
		},
		{
			"secret in plain text",
			[]edit{{"fleet.yaml", "KTRDR_DB_PASSWORD: op://KTRDR Homelab Secrets/ktrdr-homelab-core/db_password", "KTRDR_DB_PASSWORD: " + secret}},
			`(?m)^remote: .*fleet\.yaml:\d+:\d+: \S*KTRDR_DB_PASSWORD: `,
		},
		{
			"more than the node has",
			[]edit{{"nodes/c.yaml", "backtest: 1", "backtest: 3"}},
			`(?m)^remote: .*nodes/c\.yaml:\d+:\d+: \S+: .*9\S* ?G.*6\S* ?(G|M)`,
		},
	} {
		t.Run(r.name, func(t *testing.T) {
			f.karl.pull(t)
			f.karl.edit(t, r.edits...)
			_, a := f.karl.push(t, r.name)
			t.Logf("%s", a)
			if a.code == 0 {
				t.Error("it was accepted")
			}
			if !regexp.MustCompile(r.wants).MatchString(a.out) {
				t.Errorf("no line %s", r.wants)
			}
			if regexp.MustCompile(secret).MatchString(a.out) {
				t.Error("the refusal repeats the value")
			}
		})
	}
	f.karl.pull(t)
	if now := f.karl.git(t, "rev-parse", "HEAD"); now != head || f.karl.status(t).Head.Revision != head {
		t.Errorf("the head has moved from %s to %s", head, now)
	}
	for name, n := range f.nodes {
		if st, err := n.status(); err != nil || len(st.Conditions) > 0 {
			t.Errorf("%s tells of it: %v %v", name, st.Conditions, err)
		}
	}
	f.untouched(t, "refused pushes", before)
}

// tellsNothing waits until no node has anything to tell, of what was before either.
func (f *fleet) tellsNothing(t *testing.T, when string) {
	t.Helper()
	for name, n := range f.nodes {
		eventually(t, name+" has nothing to tell "+when, func() bool {
			st, err := n.status()
			return err == nil && len(st.Conditions) == 0
		})
	}
}
