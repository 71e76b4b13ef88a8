package plan_test

import (
	"fmt"
	"testing"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// TestNext is the table of the state machine of a rollout.
func TestNext(t *testing.T) {
	rollback, pause, goOn := api.FailureRollback, api.FailurePause, api.FailureContinue
	for _, c := range []struct {
		from  plan.Phase
		signs plan.Signs
		to    plan.Phase
		step  plan.Step
		why   string
	}{
		{plan.Steady, plan.Signs{}, plan.Steady, plan.NoStep, "nothing is known and nothing proven"},
		{plan.Steady, plan.Signs{Failure: rollback}, plan.Steady, plan.NoStep, "a first deployment that fails has nothing to go back to"},
		{plan.Steady, plan.Signs{Differs: true, Proven: true}, plan.Steady, plan.Record, "the first one that proves itself is remembered"},
		{plan.Steady, plan.Signs{HasGood: true}, plan.Steady, plan.NoStep, "all is as known"},
		{plan.Steady, plan.Signs{HasGood: true, Failure: rollback}, plan.Steady, plan.NoStep, "drift of what is known to be good is repaired"},
		{plan.Steady, plan.Signs{HasGood: true, Differs: true}, plan.Updating, plan.NoStep, "an update begins"},
		{plan.Updating, plan.Signs{HasGood: true, Differs: true, Proven: true}, plan.Steady, plan.Record, "an update proves itself"},
		{plan.Updating, plan.Signs{HasGood: true, Differs: true, Failure: rollback}, plan.RolledBack, plan.Quarantine, "an update fails"},
		{plan.Updating, plan.Signs{HasGood: true, Differs: true, Failure: rollback, Proven: true}, plan.RolledBack, plan.Quarantine, "a failure weighs more than proof"},
		{plan.Updating, plan.Signs{HasGood: true, Differs: true, Failure: pause}, plan.Paused, plan.Quarantine, "an update fails and is to stay"},
		{plan.Updating, plan.Signs{HasGood: true, Differs: true, Failure: goOn}, plan.Updating, plan.NoStep, "an update fails and is to go on"},
		{plan.Updating, plan.Signs{HasGood: true}, plan.Steady, plan.NoStep, "a revert to what is known to be good"},
		{plan.RolledBack, plan.Signs{HasGood: true}, plan.RolledBack, plan.NoStep, "the quarantine lasts"},
		{plan.RolledBack, plan.Signs{HasGood: true, Failure: goOn}, plan.RolledBack, plan.NoStep, "a rollback that fails is repaired"},
		{plan.RolledBack, plan.Signs{HasGood: true, Failure: pause}, plan.Paused, plan.Quarantine, "a rollback that fails is paused"},
		{plan.RolledBack, plan.Signs{HasGood: true, Moved: true}, plan.Updating, plan.Lift, "another stack is tried"},
		{plan.RolledBack, plan.Signs{HasGood: true, Moved: true, Failure: pause}, plan.Updating, plan.Lift, "another stack ends a failing rollback"},
		{plan.RolledBack, plan.Signs{}, plan.Updating, plan.Lift, "without a memory of what is good nothing is in force but what is wanted"},
		{plan.Paused, plan.Signs{HasGood: true}, plan.Paused, plan.NoStep, "a pause lasts"},
		{plan.Paused, plan.Signs{HasGood: true, Proven: true}, plan.Paused, plan.NoStep, "a pause lasts, even when all is well by now"},
		{plan.Paused, plan.Signs{HasGood: true, Moved: true}, plan.Updating, plan.Lift, "another stack is tried"},
		{plan.Paused, plan.Signs{}, plan.Updating, plan.Lift, "without a memory of what is good nothing can be mixed"},
	} {
		to, step := plan.Next(c.from, c.signs)
		if to != c.to || step != c.step {
			t.Errorf("%s: Next(%s, %+v) = %s, %d; wanted %s, %d", c.why, c.from, c.signs, to, step, c.to, c.step)
		}
	}
}

// TestNextNeverForgets: whatever the signs, a quarantine begins only with something to go
// back to, and ends only when what is wanted moved or that something is gone.
func TestNextNeverForgets(t *testing.T) {
	for _, from := range []plan.Phase{plan.Steady, plan.Updating, plan.Paused, plan.RolledBack} {
		for bits := range 16 {
			for _, failure := range []string{"", api.FailureRollback, api.FailurePause, api.FailureContinue} {
				s := plan.Signs{HasGood: bits&1 > 0, Differs: bits&2 > 0, Proven: bits&4 > 0, Moved: bits&8 > 0, Failure: failure}
				to, step := plan.Next(from, s)
				what := fmt.Sprintf("Next(%s, %+v) = %s, %d", from, s, to, step)
				if step == plan.Quarantine && (!s.HasGood || to != plan.Paused && to != plan.RolledBack) {
					t.Errorf("%s: nothing to go back to", what)
				}
				held := from == plan.Paused || from == plan.RolledBack
				if held && s.HasGood && !s.Moved && to != plan.Paused && to != plan.RolledBack {
					t.Errorf("%s: the quarantine ends by itself", what)
				}
				if held && step == plan.Record {
					t.Errorf("%s: a stack in quarantine is taken for good", what)
				}
			}
		}
	}
}
