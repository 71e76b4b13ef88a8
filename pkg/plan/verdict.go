package plan

import (
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// defaultMonitor is how long a container without a healthcheck has to run before it counts
// as updated; maxMonitor bounds what a slow healthcheck makes of it.
const (
	defaultMonitor = 10 * time.Second
	maxMonitor     = 5 * time.Minute
	// defaultStart is how long a service that only a probe in stack.yaml watches may take
	// until it is healthy for the first time.
	defaultStart = 2 * time.Minute
)

// How often something has to fail before an update is given up for it.
const (
	refusals = 6 // some eight seconds of back-off: an engine that is restarted is back by then
	crashes  = 5 // less may be the wait for something that starts at the same time
)

// failure is why an update is given up.
type failure struct {
	action string
	slot   *slot
	// changed are all slots that the update changes.
	changed []*slot
	reason  api.Reason
	message string
}

// differs says that the wanted stack, or an image of it, is not that of the last known good.
func (b *builder) differs(digest string) bool {
	if b.good == nil || digestOf(b.good) != digest {
		return true
	}
	return slices.ContainsFunc(b.slots, func(s *slot) bool {
		id := s.imageID()
		return id != "" && id != b.known.Images[s.rep.Name].ID
	})
}

// updates says that the update gives the slot another definition or image.
func (b *builder) updates(s *slot) bool {
	g := b.goodReplica(s)
	id := s.imageID()
	return g == nil || g.SpecHash != s.rep.SpecHash || id != "" && id != b.known.Images[s.rep.Name].ID
}

func (b *builder) goodReplica(s *slot) *api.Replica {
	return b.goodReplicas[replicaKey{s.svc.Name, s.rep.Name}]
}

// replicaKey names a replica of a service.
type replicaKey struct{ service, container string }

func replicasOf(stack *api.Stack) map[replicaKey]*api.Replica {
	all := make(map[replicaKey]*api.Replica, len(stack.Services))
	for i := range stack.Services {
		svc := &stack.Services[i]
		for j := range svc.Replicas {
			all[replicaKey{svc.Name, svc.Replicas[j].Name}] = &svc.Replicas[j]
		}
	}
	return all
}

// updated says that the update made the slot's container: neither did it run before, nor
// was it only taken over.
func (b *builder) updated(s *slot) bool {
	c := s.keeper
	if c == nil {
		return false
	}
	if b.phase == RolledBack {
		return c.Created.After(b.failedAt)
	}
	return b.updates(s) && c.Labels[api.LabelSpecHash] == s.rep.SpecHash
}

// policy is what deploy says about the change that is under way.
func (b *builder) policy(svc *api.Service) api.Update {
	if b.phase != RolledBack {
		return svc.Update
	}
	if svc.Rollback == nil {
		return api.Update{Parallelism: 1}
	}
	return *svc.Rollback
}

// failureAction fills in the default: an update is rolled back, a rollback goes on.
func (b *builder) failureAction(svc *api.Service) string {
	action := b.policy(svc).FailureAction
	if action == "" && b.phase != RolledBack {
		action = api.FailureRollback
	}
	return action
}

// failedUpdate returns the first failure that ends the update, nil when there is none or
// when nothing is known to go back to.
func (b *builder) failedUpdate() *failure {
	if b.good == nil || b.phase == Paused {
		return nil
	}
	var changed []*slot
	for _, s := range b.slots {
		if b.updates(s) {
			changed = append(changed, s)
		}
	}
	for _, f := range b.failures() {
		if f.action == api.FailureRollback || f.action == api.FailurePause {
			f.changed = changed
			return f
		}
	}
	return nil
}

// failures lists what fails of services of which more fails than max_failure_ratio allows.
func (b *builder) failures() []*failure {
	byService := map[*api.Service][]*failure{}
	total := map[*api.Service]int{}
	for _, s := range b.slots {
		total[s.svc]++
		if reason, message := b.fails(s); reason != "" {
			byService[s.svc] = append(byService[s.svc], &failure{action: b.failureAction(s.svc), slot: s, reason: reason, message: message})
		}
	}
	var list []*failure
	for _, s := range b.slots {
		failed := byService[s.svc]
		if len(failed) > 0 && failed[0].slot == s && float32(len(failed)) > b.policy(s.svc).MaxFailureRatio*float32(total[s.svc]) {
			list = append(list, failed[0])
		}
	}
	return list
}
