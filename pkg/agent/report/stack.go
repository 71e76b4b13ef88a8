package report

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/telemetry"
)

// stack is what is known about one stack.
type stack struct {
	plan *plan.Plan
	// conditions of the newest plan, with the time since when they hold.
	conditions []api.Condition
	// announced is the reason that the last event of an object told, by container; "" is
	// the stack itself.
	announced map[string]api.Reason
	// failures are the reasons that events told, by operation key.
	failures map[string]api.Reason
	// rolling is the revision that the stack was seen not to have reached, converged the
	// one that it was last seen to have.
	rolling, converged string
}

// Planned takes the newest plan of a stack, which nobody may change from now on.
func (r *Report) Planned(name string, p *plan.Plan, took time.Duration) {
	now := time.Now()
	r.mu.Lock()
	s := r.stacks[name]
	if s == nil {
		s = &stack{announced: map[string]api.Reason{}, failures: map[string]api.Reason{}}
		r.stacks[name] = s
	}
	if s.plan != nil && s.plan.Revision != p.Revision {
		clear(s.failures)
	}
	s.plan = p
	incidents := s.keepConditions(now)
	incidents = append(incidents, s.announce()...)
	rolled := s.advance(r.desired.revision)
	rollout := now.Sub(r.desired.since)
	_, wanted := r.desired.stacks[name]
	gone := r.desired.accepted && !wanted && len(p.Ops) == 0 && p.Status.Reason != api.ReasonNotObserved
	if gone {
		delete(r.stacks, name)
	}
	r.touch()
	r.mu.Unlock()

	r.metrics.Reconciled(telemetry.Stack{Name: name, Converged: p.Status.Converged, Took: took})
	if rolled {
		r.metrics.ConvergedAfter(name, rollout)
	}
	if gone {
		r.metrics.ForgetStack(name)
	}
	r.events.add(incidents...)
}

// keepConditions takes the plan's conditions, each with the time since when it holds. It
// returns an event for each warning that came or went: no reason of an object tells those.
func (s *stack) keepConditions(now time.Time) []incident {
	before := s.conditions
	s.conditions = slices.Clone(s.plan.Status.Conditions)
	for i := range s.conditions {
		c := &s.conditions[i]
		if at := slices.IndexFunc(before, func(b api.Condition) bool { return sameReason(&b, c) }); at >= 0 {
			c.Since = before[at].Since
		} else if c.Since.IsZero() {
			c.Since = now
		}
	}
	return s.warnings(before)
}

func (s *stack) warnings(before []api.Condition) []incident {
	var list []incident
	add := func(old, c *api.Condition) {
		e := conditionIncident("", old, c)
		e.Stack, e.Object = s.plan.Stack, cmp.Or(c, old).Object
		list = append(list, e)
	}
	for i := range s.conditions {
		c := &s.conditions[i]
		if c.Type == api.ConditionWarning && !slices.ContainsFunc(before, func(b api.Condition) bool { return sameReason(&b, c) }) {
			add(nil, c)
		}
	}
	for i := range before {
		b := &before[i]
		about := func(c api.Condition) bool { return c.Type == b.Type && c.Object == b.Object }
		if b.Type == api.ConditionWarning && !slices.ContainsFunc(s.conditions, about) {
			add(b, nil)
		}
	}
	return list
}

// advance follows the stack to the revision in force. True means that it has just got
// there, after it was seen not to be there.
func (s *stack) advance(revision string) bool {
	p := s.plan
	if p.Revision != revision {
		return false
	}
	if !p.Status.Converged {
		if s.converged != revision {
			s.rolling = revision
		}
		return false
	}
	clear(s.failures)
	rolled := s.rolling == revision
	s.rolling, s.converged = "", revision
	return rolled
}

// announce returns an event for the stack and for each of its containers that changed its
// reason since the last event about it.
func (s *stack) announce() []incident {
	st := &s.plan.Status
	var list []incident
	seen := map[string]bool{"": true}
	if s.changes("", st.Reason) {
		list = append(list, s.incident("", st.Reason, st.Message))
	}
	for i := range st.Services {
		svc := &st.Services[i]
		seen[svc.Container] = true
		_, known := s.announced[svc.Container]
		if !s.changes(svc.Container, svc.Reason) || !known && quiet(svc.Reason) {
			continue
		}
		e := s.incident(svc.Container, svc.Reason, svc.Message)
		e.attrs = append(e.attrs, slog.String("service", svc.Service), slog.String("container_id", svc.ID), slog.String("image", svc.Image))
		list = append(list, e)
	}
	for container := range s.announced {
		if !seen[container] {
			delete(s.announced, container)
		}
	}
	return list
}

// changes tells whether a reason is news about an object, and remembers it. Work on a
// trouble is no news: what goes wrong once a minute would else make an event a minute.
func (s *stack) changes(object string, reason api.Reason) bool {
	before, known := s.announced[object]
	settled := !known || before == api.ReasonConverged || before == api.ReasonOnHold
	if reason == before || reason == "" || reason == api.ReasonNotObserved || underWay(reason) && !settled {
		return false
	}
	s.announced[object] = reason
	return true
}

// underWay are the reasons of what changes by itself soon.
func underWay(r api.Reason) bool { return r == api.ReasonProgressing || r == api.ReasonDependency }

// quiet reasons of a container are no news when it is seen for the first time.
func quiet(r api.Reason) bool {
	return underWay(r) || r == api.ReasonConverged || r == api.ReasonOnHold
}

func (s *stack) incident(object string, reason api.Reason, message string) incident {
	e := incident{
		Event: api.Event{Level: s.level(object, reason), Stack: s.plan.Stack, Object: object, Reason: reason, Message: message},
		text:  "state changed", attrs: []slog.Attr{slog.String("revision", s.plan.Revision)},
	}
	if e.Message == "" {
		e.Message = sentence(reason)
	}
	return e
}

func sentence(r api.Reason) string {
	switch {
	case r == api.ReasonConverged:
		return "as wanted"
	case underWay(r):
		return "being changed"
	}
	return string(r)
}

// level is error when a person has to act, by the word of a Blocked condition.
func (s *stack) level(object string, reason api.Reason) string {
	if quiet(reason) {
		return levelInfo
	}
	if slices.ContainsFunc(s.conditions, func(c api.Condition) bool {
		return c.Type == api.ConditionBlocked && c.Reason == reason && (object == "" || c.Object == object)
	}) {
		return levelError
	}
	return levelWarn
}
