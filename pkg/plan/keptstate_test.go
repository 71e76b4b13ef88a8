package plan_test

import (
	"testing"

	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/plan"
)

// TestNextKept is the table of the state machine.
func TestNextKept(t *testing.T) {
	can := plan.KeptSigns{Newest: "2", Known: true, Accepted: "1", Exists: true, Command: true, CanRun: true}
	with := func(change func(*plan.KeptSigns)) plan.KeptSigns {
		s := can
		change(&s)
		return s
	}
	cases := map[string]struct {
		signs  plan.KeptSigns
		want   plan.KeptState
		agreed string
	}{
		"never made":                      {plan.KeptSigns{Newest: "2", Command: true}, plan.KeptUnborn, "2"},
		"there, and nobody knows":         {plan.KeptSigns{Newest: "2", Exists: true, CanRun: true}, plan.KeptUnknown, ""},
		"as the provider has it":          {with(func(s *plan.KeptSigns) { s.Accepted = "2" }), plan.KeptSettled, "2"},
		"provider away":                   {with(func(s *plan.KeptSigns) { s.Newest = "" }), plan.KeptSettled, "1"},
		"changed":                         {can, plan.KeptRotating, ""},
		"changed, and its container gone": {with(func(s *plan.KeptSigns) { s.Exists, s.CanRun = false, false }), plan.KeptWaiting, "1"},
		"changed, and it can't run":       {with(func(s *plan.KeptSigns) { s.CanRun = false }), plan.KeptWaiting, "1"},
		"changed, and it failed":          {with(func(s *plan.KeptSigns) { s.Failed = true }), plan.KeptWaiting, "1"},
		"changed, without a command":      {with(func(s *plan.KeptSigns) { s.Command = false }), plan.KeptRefused, "1"},
		"died while it ran":               {with(func(s *plan.KeptSigns) { s.Tried = "2" }), plan.KeptRotating, ""},
		"taken back while it ran":         {with(func(s *plan.KeptSigns) { s.Newest, s.Tried = "1", "2" }), plan.KeptRotating, ""},
		"taken back before it ran":        {with(func(s *plan.KeptSigns) { s.Newest = "1" }), plan.KeptSettled, "1"},
		"taken back after it failed":      {with(func(s *plan.KeptSigns) { s.Newest, s.Tried, s.Failed = "1", "2", true }), plan.KeptWaiting, "1"},
		"nobody knows which, refused":     {with(func(s *plan.KeptSigns) { s.Accepted, s.Command = "", false }), plan.KeptRefused, ""},
	}
	for name, c := range cases {
		if got := plan.NextKept(c.signs); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if got := plan.Agreed(c.signs.Newest, []plan.KeptSigns{c.signs}); got != c.agreed {
			t.Errorf("%s: others get %q, want %q", name, got, c.agreed)
		}
	}
}

func drawSigns(t *rapid.T, newest string) plan.KeptSigns {
	digest := rapid.SampledFrom([]string{"1", "2", "3"})
	s := plan.KeptSigns{
		Newest: newest, Known: rapid.Bool().Draw(t, "known"), Exists: rapid.Bool().Draw(t, "exists"),
		Command: rapid.Bool().Draw(t, "command"), CanRun: rapid.Bool().Draw(t, "canRun"), Failed: rapid.Bool().Draw(t, "failed"),
	}
	if s.Known {
		s.Accepted = digest.Draw(t, "accepted")
		s.Tried = rapid.SampledFrom([]string{"", "", "1", "2", "3"}).Draw(t, "tried")
	}
	s.CanRun = s.CanRun && s.Exists
	return s
}

// TestAgreedProperties: whatever several containers have, others get a value only if every
// one of them that has any has accepted it; none while a rotation is under way.
func TestAgreedProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		newest := rapid.SampledFrom([]string{"", "1", "2", "3"}).Draw(t, "newest")
		signs := make([]plan.KeptSigns, rapid.IntRange(1, 3).Draw(t, "containers"))
		for i := range signs {
			signs[i] = drawSigns(t, newest)
		}
		agreed := plan.Agreed(newest, signs)
		if agreed == "" {
			return
		}
		for _, s := range signs {
			switch state := plan.NextKept(s); {
			case s.Known && s.Accepted != agreed:
				t.Fatalf("others get %s, which %+v (%s) did not accept", agreed, s, state)
			case state == plan.KeptRotating || state == plan.KeptUnknown:
				t.Fatalf("others get %s while %+v is %s", agreed, s, state)
			}
		}
	})
}
