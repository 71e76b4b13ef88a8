package plan

import (
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// weighRegistration decides what it means for a container that it is not known where its
// service registers: nothing for a while, then a warning. A service that requires it has not
// converged without, but nothing is ever replaced, restarted or rolled back for it: what lists
// the services may be down itself.
func (b *builder) weighRegistration(s *slot) {
	reg, c := s.rep.Registration, s.keeper
	if reg == nil || c == nil || s.svc.Job || s.problem != nil || s.degraded != nil || s.undecided || s.ops > 0 || !healthy(s.svc, c) {
		return
	}
	fact := c.Facts.Registration
	if fact == nil || !fact.For.Equal(c.StartedAt) {
		s.unlisted = reg.Required
		return // nobody has looked yet
	}
	if fact.Registered {
		return
	}
	told := later(c.StartedAt, fact.Since).Add(reg.Grace)
	switch {
	case told.After(b.in.Now):
		b.wakeAt(told)
		s.unlisted = reg.Required && !fact.Lost
	case reg.Required:
		s.degraded = &problem{waiting: true, reason: fact.Reason, message: fact.Message}
	default:
		b.pooled = append(b.pooled, api.Condition{
			Type: api.ConditionWarning, Status: true, Reason: fact.Reason, Message: fact.Message, Object: s.rep.Name, Since: fact.Since,
		})
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
