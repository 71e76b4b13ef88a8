package plan

import (
	"slices"

	"ktrdr.io/fleet/pkg/api"
)

func (b *builder) notObserved() api.StackStatus {
	return api.StackStatus{
		Name: b.stack.Name, Project: b.stack.Project, Reason: api.ReasonNotObserved,
		Message: "the engine was not observed yet; nothing is changed before it is", Services: []api.ServiceStatus{},
	}
}

// finish drops operations whose needs can't come true, orders the rest and writes the status.
func (b *builder) finish() {
	b.dropUnreachable()
	b.order()
	st := api.StackStatus{Name: b.stack.Name, Project: b.stack.Project, Services: []api.ServiceStatus{}}
	if hold, ok := b.obs.Holds[b.stack.Name]; ok && b.plan.Held {
		st.Hold = &hold
	}
	for _, s := range b.slots {
		b.weighRegistration(s)
		st.Services = append(st.Services, b.serviceStatus(s))
	}
	st.Conditions = append(st.Conditions, b.pooled...)
	for i := range b.plan.Ops {
		if op := &b.plan.Ops[i]; !op.Background {
			st.Pending = append(st.Pending, op.String())
		}
	}
	st.Conditions = append(st.Conditions, b.failureConditions()...)
	b.summarise(&st)
	b.plan.Status = st
}

// dropUnreachable removes operations that wait for something blocked, and repeats until
// nothing is left that does.
func (b *builder) dropUnreachable() {
	for {
		kept := b.plan.Ops[:0:0]
		for _, op := range b.plan.Ops {
			if slices.ContainsFunc(op.Needs, func(n string) bool { _, ok := b.keys[n]; return !ok }) {
				delete(b.keys, op.Key)
				continue
			}
			kept = append(kept, op)
		}
		if len(kept) == len(b.plan.Ops) {
			return
		}
		b.plan.Ops = kept
	}
}

// order sorts operations so that each comes after its needs, otherwise as planned.
func (b *builder) order() {
	ordered := make([]Op, 0, len(b.plan.Ops))
	placed := map[string]bool{}
	for len(ordered) < len(b.plan.Ops) {
		progress := false
		for _, op := range b.plan.Ops {
			if placed[op.Key] || slices.ContainsFunc(op.Needs, func(n string) bool { return !placed[n] }) {
				continue
			}
			placed[op.Key] = true
			ordered = append(ordered, op)
			progress = true
		}
		if !progress {
			break // a cycle: what is in it can never run, so it is not part of the plan
		}
	}
	b.plan.Ops = ordered
}

func (b *builder) serviceStatus(s *slot) api.ServiceStatus {
	st := api.ServiceStatus{Service: s.svc.Name, Container: s.rep.Name, Image: s.rep.Spec.Image, State: "missing"}
	if s.image != nil {
		st.Wanted = identity(s.image)
	}
	c := s.keeper
	if c == nil && len(s.obsolete) > 0 {
		c = s.obsolete[0]
	}
	if c == nil && len(s.found) > 0 {
		c = s.found[0]
	}
	if c != nil {
		st.ID, st.State, st.StartedAt, st.Restarts = c.ID, string(c.State), c.StartedAt, c.Restarts
		st.Actual = c.ImageID
		if c.Image != st.Image {
			st.Running = c.Image
		}
		if s.image != nil && c.ImageID == s.image.ID {
			st.Actual = st.Wanted
		}
		if c.State == api.StateRunning {
			st.Health = health(s.svc, c)
		}
	}
	b.judge(s, &st)
	return st
}

func identity(img *api.Image) string {
	if img.Digest != "" {
		return img.Digest
	}
	return img.ID
}

// judge sets Converged, Reason and Message of one service.
func (b *builder) judge(s *slot, st *api.ServiceStatus) {
	switch {
	case s.problem != nil:
		st.Reason, st.Message = s.problem.reason, s.problem.message
	case s.degraded != nil:
		st.Reason, st.Message = s.degraded.reason, s.degraded.message
	case s.undecided:
		st.Reason, st.Message = api.ReasonProgressing, "finding out what runs"
	case s.done && s.ops == 0:
		st.Converged, st.Reason, st.State = true, api.ReasonConverged, "completed"
	case s.keeper == nil || s.ops > 0 || s.keeper.State != api.StateRunning:
		st.Reason, st.Message = api.ReasonProgressing, b.next(s)
	case s.keeper.Facts.Unresponsive:
		st.Reason, st.Message = api.ReasonContainerHung, "the engine does not answer about this container; it is left alone"
	case !healthy(s.svc, s.keeper):
		st.Reason, st.Message = api.ReasonProgressing, b.next(s)
	case s.svc.Job:
		st.Reason, st.Message = api.ReasonProgressing, "the job runs"
	case s.unlisted:
		st.Reason, st.Message = api.ReasonProgressing, "waits until it is registered at "+s.rep.Registration.URL
	default:
		if until, watched := b.monitored(s); watched {
			b.wakeAt(until)
			st.Reason = api.ReasonProgressing
			st.Message = "is watched until " + until.UTC().Format("15:04:05") + " (monitor of deploy)"
			return
		}
		st.Converged, st.Reason = true, api.ReasonConverged
	}
	if st.Converged {
		return
	}
	if f, key := b.failureOf(s); key != "" && s.problem == nil {
		st.Reason, st.Message = f.Reason, f.Message
	}
}

// next is the first operation that the slot waits for.
func (b *builder) next(s *slot) string {
	for i := range b.plan.Ops {
		if op := &b.plan.Ops[i]; !op.Background && op.Service == s.svc.Name && (op.Replica == nil || op.Replica == s.rep) {
			return "next is " + op.head()
		}
	}
	return ""
}

// failed returns what is remembered of an operation. What failed for good with another
// revision says nothing about this one.
func (b *builder) failed(key string) (api.Failure, bool) {
	f, ok := b.obs.Failures[key]
	return f, ok && (f.Class != api.Terminal || f.Revision == b.in.Revision)
}

// failureOf finds a remembered failure of an operation for the slot.
func (b *builder) failureOf(s *slot) (api.Failure, string) {
	if len(b.obs.Failures) == 0 {
		return api.Failure{}, ""
	}
	for _, op := range b.plan.Ops {
		mine := op.Service == s.svc.Name && (op.Replica == nil || op.Replica == s.rep) || op.Object == s.rep.Spec.Image
		if f, ok := b.failed(op.Key); ok && mine && !op.Background {
			return f, op.Key
		}
	}
	return api.Failure{}, ""
}

func (b *builder) failureConditions() []api.Condition {
	var list []api.Condition
	for _, op := range b.plan.Ops {
		f, ok := b.failed(op.Key)
		if !ok {
			continue
		}
		kind := api.ConditionDegraded
		if op.Stalled && !op.Background {
			kind = api.ConditionBlocked
		}
		list = append(list, api.Condition{Type: kind, Status: true, Reason: f.Reason, Message: f.Message, Object: op.Object, Since: f.At})
	}
	return list
}

func (b *builder) summarise(st *api.StackStatus) {
	var waiting, first string
	for i := range st.Services {
		svc := &st.Services[i]
		s := b.slots[i]
		prob := s.problem
		if prob == nil {
			prob = s.degraded
		}
		if prob != nil {
			kind := api.ConditionDegraded
			if s.problem != nil && !prob.waiting {
				kind = api.ConditionBlocked
			}
			st.Conditions = append(st.Conditions, api.Condition{Type: kind, Status: true, Reason: prob.reason, Message: prob.message, Object: svc.Container})
		}
		if !svc.Converged && first == "" {
			first, waiting = svc.Container, svc.Message
			st.Reason = svc.Reason
		}
	}
	blocked := slices.IndexFunc(st.Conditions, func(c api.Condition) bool { return c.Type == api.ConditionBlocked })
	switch {
	case st.Hold != nil && (first != "" || b.plan.changes() > 0):
		st.Reason, st.Message = api.ReasonOnHold, "on hold: "+st.Hold.Why
	case first != "":
		st.Message = first
		if waiting != "" {
			st.Message += ": " + waiting
		}
	case b.plan.changes() > 0:
		st.Reason, st.Message = api.ReasonProgressing, count(b.plan.changes())+" left"
	case blocked >= 0:
		st.Reason, st.Message = st.Conditions[blocked].Reason, st.Conditions[blocked].Message
	default:
		st.Converged, st.Reason = true, api.ReasonConverged
	}
}

// changes counts operations that are more than another look at an image.
func (p *Plan) changes() int {
	n := 0
	for i := range p.Ops {
		if op := &p.Ops[i]; op.Kind != Resolve && !op.Background {
			n++
		}
	}
	return n
}
