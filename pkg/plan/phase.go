package plan

import "ktrdr.io/fleet/pkg/api"

// Phase is where a stack stands in its rollout.
type Phase string

// Phases of a rollout.
const (
	// Steady: the stack is what is known to be good, or nothing is known yet.
	Steady Phase = "steady"
	// Updating: the stack differs from the last known good and did not prove itself yet.
	Updating Phase = "updating"
	// Paused: the update failed and stays where it is, by failure_action pause.
	Paused Phase = "paused"
	// RolledBack: the update failed; the last known good is in force in its place.
	RolledBack Phase = "rolled-back"
)

// Step is what has to be remembered for a phase to begin.
type Step int

// Steps between phases.
const (
	NoStep Step = iota
	// Record remembers the stack as the last known good.
	Record
	// Quarantine remembers that the update failed.
	Quarantine
	// Lift forgets it: the stack or its images are others by now.
	Lift
)

// Signs are what Next looks at.
type Signs struct {
	// HasGood: there is a last known good of this project.
	HasGood bool
	// Differs: the wanted stack, or an image of it, is not that of the last known good.
	Differs bool
	// Failure is the failure_action of what failed; empty when nothing did.
	Failure string
	// Proven: all was read back as wanted, for as long as it is monitored.
	Proven bool
	// Moved: the wanted stack is not the one that is in quarantine.
	Moved bool
}

// Next is the state machine of a rollout. Draining busy workers, and waves across nodes,
// come before an operation or before a revision: they add no phase.
func Next(p Phase, s Signs) (Phase, Step) {
	switch p {
	case RolledBack:
		switch {
		case s.Moved || !s.HasGood:
			return Updating, Lift
		case s.Failure == api.FailurePause:
			return Paused, Quarantine
		}
		return RolledBack, NoStep
	case Paused:
		if s.Moved || !s.HasGood {
			return Updating, Lift
		}
		return Paused, NoStep
	case Steady, Updating:
		return update(s)
	}
	return update(s)
}

func update(s Signs) (Phase, Step) {
	updating := s.HasGood && s.Differs
	switch {
	case updating && s.Failure == api.FailureRollback:
		return RolledBack, Quarantine
	case updating && s.Failure == api.FailurePause:
		return Paused, Quarantine
	case s.Proven && (s.Differs || !s.HasGood):
		return Steady, Record
	case updating:
		return Updating, NoStep
	}
	return Steady, NoStep
}
