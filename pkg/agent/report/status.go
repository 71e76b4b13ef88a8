package report

import (
	"fmt"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// staleAfter is how long the source may fail before the status says that the desired state
// may be outdated.
const staleAfter = 10 * time.Minute

// Status returns what is known now. It shares no memory that anybody changes later.
func (r *Report) Status() api.NodeStatus {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	st := api.NodeStatus{
		Node: r.node, Version: api.Version, Time: now, Ready: len(r.notReady()) == 0,
		Revision: r.desired.revision, RevisionTime: r.desired.at,
		SourceRevision: r.source.revision, SourceCheckAt: r.source.checkedAt,
		Engine: r.engine, Policy: r.policy, Conditions: r.nodeConditions(now), Stacks: []api.StackStatus{},
	}
	for _, name := range r.stackNames() {
		st.Stacks = append(st.Stacks, r.stackStatus(name))
	}
	for _, path := range sortedKeys(r.mounts) {
		m := r.mounts[path]
		st.Mounts = append(st.Mounts, api.MountStatus{Path: path, OK: m.OK, Reason: m.Reason, Message: m.Message})
	}
	st.Registrars, st.Backups = slices.Clone(r.facts.registrars), slices.Clone(r.facts.backups)
	if r.link != nil {
		link := *r.link
		st.Link = &link
	}
	if r.providers != nil {
		st.SecretProviders = r.providers()
	}
	return st
}

// notReady says why the agent is not ready yet. The caller holds the lock.
func (r *Report) notReady() []string {
	var why []string
	if !r.observed {
		why = append(why, "the engine has not answered yet")
	}
	if !r.desired.accepted {
		why = append(why, "no valid desired state was accepted yet")
	}
	return why
}

func (r *Report) nodeConditions(now time.Time) []api.Condition {
	var list []api.Condition
	if r.source.condition != nil {
		list = append(list, *r.source.condition)
	}
	confirmed := r.source.confirmed
	if confirmed.IsZero() {
		confirmed = r.started
	}
	if r.source.condition != nil && r.desired.accepted && now.Sub(confirmed) > staleAfter {
		list = append(list, api.Condition{
			Type: api.ConditionDegraded, Status: true, Reason: api.ReasonStale, Since: confirmed.Add(staleAfter),
			Message: fmt.Sprintf("the source has not confirmed the desired state for %s; the node keeps what it has",
				now.Sub(confirmed).Round(time.Minute)),
		})
	}
	for _, key := range sortedKeys(r.conditions) {
		list = append(list, r.conditions[key])
	}
	return list
}

// stackNames are those that are wanted or known, sorted.
func (r *Report) stackNames() []string {
	names := append(sortedKeys(r.desired.stacks), sortedKeys(r.stacks)...)
	slices.Sort(names)
	return slices.Compact(names)
}

// stackStatus is the planner's word, unless it is about another revision: "converged" is
// said about the revision in force only.
func (r *Report) stackStatus(name string) api.StackStatus {
	s := r.stacks[name]
	if s == nil {
		return api.StackStatus{
			Name: name, Project: r.desired.stacks[name], Reason: api.ReasonProgressing,
			Message: "not planned yet", Services: []api.ServiceStatus{},
		}
	}
	st := s.plan.Status
	st.Conditions = slices.Clone(s.conditions)
	st.Services = slices.Clone(st.Services)
	st.Pending = slices.Clone(st.Pending)
	if st.Services == nil {
		st.Services = []api.ServiceStatus{}
	}
	r.addFacts(&st, s.plan.InForce)
	if r.desired.accepted && s.plan.Revision != r.desired.revision {
		st.Converged, st.Reason, st.Message = false, api.ReasonProgressing, "not planned for the new revision yet"
		st.Conditions = nil // they are about the one before
	}
	return st
}
