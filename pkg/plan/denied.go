package plan

import "ktrdr.io/fleet/pkg/api"

// denied is the status of a stack that the node's policy keeps as it is.
func (b *builder) denied() api.StackStatus {
	first := b.in.Denied[0]
	st := api.StackStatus{
		Name: b.stack.Name, Project: b.stack.Project, Reason: first.Reason, Message: first.Message,
		Conditions: append([]api.Condition(nil), b.in.Denied...), Services: []api.ServiceStatus{},
	}
	if hold, ok := b.obs.Holds[b.stack.Name]; ok && b.plan.Held {
		st.Hold = &hold
	}
	for _, s := range b.slots {
		s.problem = &problem{reason: first.Reason, message: "kept as it is: " + first.Message}
		for _, c := range b.in.Denied {
			if c.Object == s.svc.Name {
				s.problem = &problem{reason: c.Reason, message: c.Message}
				break
			}
		}
		st.Services = append(st.Services, b.serviceStatus(s))
	}
	return st
}
