package plan

import (
	"slices"

	"ktrdr.io/fleet/pkg/api"
)

// rolloutKey is one for all that is remembered about a stack's rollout: nothing of it
// overtakes another.
func (r *rollout) rolloutKey() string { return "rollout/" + r.in.Stack.Name }

// record remembers the stack as the last known good. Nothing waits for that.
func (r *rollout) record(p *Plan, b *builder) {
	good := &api.KnownGood{Images: b.images(), Jobs: b.jobs(), At: r.in.Now}
	r.remember(p, Op{
		Key: r.rolloutKey(), Kind: RecordGood, Object: r.in.Stack.Name, Background: true,
		Cause: "it is converged and stayed so: a failed update returns to it", Memory: &api.Rollout{Good: good},
	})
}

// quarantine leaves nothing in the plan but to remember the failure: what comes next is
// planned once that is on disk.
func (r *rollout) quarantine(p *Plan, f *failure) {
	revision := r.in.Revision
	images := map[string]string{}
	for _, s := range f.changed {
		if id := s.imageID(); id != "" {
			images[s.rep.Spec.Image] = id
		}
	}
	digest := r.digest
	if old := r.memory.Failed; old != nil { // a rollback failed: the quarantine stays that of the update
		revision, images, digest = old.Revision, old.Images, old.Digest
	}
	failed := &api.FailedUpdate{
		Revision: revision, Digest: digest, Images: images, Action: f.action, Service: f.slot.svc.Name,
		Container: f.slot.rep.Name, Reason: f.reason, Message: f.message, At: r.in.Now,
	}
	p.Ops = []Op{}
	what := "it is rolled back to " + shortRevision(r.memory.Good.Desired.Revision)
	if f.action == api.FailurePause {
		what = "it is paused"
	}
	op := Op{
		Key: r.rolloutKey(), Kind: QuarantineRevision, Object: shortRevision(revision), Service: failed.Service,
		Cause: f.message + "; " + what, Memory: &api.Rollout{Good: r.memory.Good, Failed: failed},
	}
	if f.slot.keeper != nil {
		op.LogsOf = f.slot.keeper.ID
	}
	r.remember(p, op)
	p.Status.Converged, p.Status.Reason, p.Status.Message = false, f.reason, f.message
	p.Status.Pending = []string{op.String()}
}

// lift forgets the quarantine, unless something newer is remembered at the same time.
func (r *rollout) lift(p *Plan) {
	if slices.ContainsFunc(p.Ops, func(op Op) bool { return op.Key == r.rolloutKey() }) {
		return
	}
	r.remember(p, Op{
		Key: r.rolloutKey(), Kind: LiftQuarantine, Object: r.in.Stack.Name, Background: true,
		Cause: "the stack or its images are others than those that failed", Memory: &api.Rollout{Good: r.memory.Good},
	})
}

// remember adds op to a plan that somebody runs.
func (r *rollout) remember(p *Plan, op Op) {
	if r.in.Rehearsal {
		return
	}
	if f, ok := r.in.Observed.Failures[op.Key]; ok && f.RetryAt.After(r.in.Now) {
		op.NotBefore = f.RetryAt
	}
	p.Ops = slices.Insert(p.Ops, 0, op)
}

// images are what runs, by container.
func (b *builder) images() map[string]api.ImagePin {
	pins := map[string]api.ImagePin{}
	for _, s := range b.slots {
		if id := s.imageID(); id != "" {
			pin := api.ImagePin{ID: id}
			if s.image != nil && s.image.ID == id {
				pin.Digest = s.image.Digest
			}
			pins[s.rep.Name] = pin
		}
	}
	return pins
}

// jobs are the records of jobs that ended well.
func (b *builder) jobs() map[string]string {
	done := map[string]string{}
	for _, s := range b.slots {
		if s.svc.Job {
			done[api.JobKey(b.stack.Project, s.svc.Name, s.rep.Name)] = s.rep.SpecHash + b.digestOf(s)
		}
	}
	return done
}

// imageID is the image that the slot's container has or is to get; empty when unknown.
func (s *slot) imageID() string {
	switch {
	case s.keeper != nil:
		return s.keeper.ImageID
	case s.image != nil:
		return s.image.ID
	}
	return ""
}
