package plan

import (
	"fmt"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// Build returns what is left to do so that the engine holds what the stack wants; after
// an update that failed, what its last known good wants. Same input, same plan.
func Build(in Input) *Plan {
	r := newRollout(in)
	if !in.Observed.Complete {
		b := newBuilder(in)
		b.plan.Status = b.notObserved()
		return b.plan
	}
	if len(in.Denied) > 0 {
		b := newBuilder(in)
		b.plan.Status = b.denied()
		return b.plan
	}
	if len(in.Stack.Services) == 0 { // being removed: nothing to go back to
		return newBuilder(in).build()
	}
	p := r.plan()
	p.Status.Rollout = r.status()
	return p
}

// rollout is what Build knows of a stack's rollout.
type rollout struct {
	in     Input
	memory api.Rollout
	// good is the stack of the last known good; nil when there is none of this project.
	good   *api.Stack
	digest string
	phase  Phase
}

func newRollout(in Input) *rollout {
	r := &rollout{in: in, phase: Steady, digest: digestOf(in.Stack)}
	if m := in.Observed.Rollouts[in.Stack.Name]; m != nil {
		r.memory = *m
	}
	if g := r.memory.Good.Stack(); g != nil && g.Project == in.Stack.Project {
		r.good = g
	}
	if f := r.memory.Failed; f != nil {
		r.phase = RolledBack
		if f.Action == api.FailurePause {
			r.phase = Paused
		}
	}
	return r
}

// InForce returns the desired state that the containers of a stack are to follow now: that
// of its last known good when an update was rolled back, else nil. Probes, mounts and
// secrets follow it as well.
func InForce(stack *api.Stack, obs *api.Observed) *api.Desired {
	r := newRollout(Input{Stack: stack, Observed: obs})
	if r.phase != RolledBack || r.good == nil || r.moved() {
		return nil
	}
	return r.memory.Good.Desired
}

func (r *rollout) plan() *Plan {
	if r.phase != RolledBack && r.phase != Paused {
		return r.update()
	}
	next, step := Next(r.phase, Signs{HasGood: r.good != nil, Moved: r.moved()})
	if step == NoStep {
		return r.quarantined()
	}
	r.phase, r.memory.Failed = next, nil
	p := r.update()
	r.lift(p)
	return p
}

// moved says that the wanted stack, or one of its images, is not what is in quarantine. An
// image that is not here, or has to be looked up again, tells nothing.
func (r *rollout) moved() bool {
	f := r.memory.Failed
	if f.Digest != r.digest {
		return true
	}
	for ref, id := range f.Images {
		if img := r.in.Observed.Images[ref]; img != nil && !img.Missing && !img.Stale && img.ID != id {
			return true
		}
	}
	return false
}

// update plans the wanted stack.
func (r *rollout) update() *Plan {
	b := newBuilder(r.in)
	b.follow(r)
	p := b.build()
	signs := Signs{HasGood: r.good != nil, Differs: b.differs(r.digest)}
	failed := b.failedUpdate()
	if failed != nil && !p.Held {
		signs.Failure = failed.action
	}
	signs.Proven = signs.Differs && b.proven()
	var step Step
	switch r.phase, step = Next(r.phase, signs); step {
	case Quarantine:
		r.quarantine(p, failed)
	case Record:
		r.record(p, b)
	case NoStep, Lift:
	}
	return p
}

// quarantined plans what is in force while the wanted stack is not tried.
func (r *rollout) quarantined() *Plan {
	in, pinned := r.in, r.memory.Good.Images
	in.Stack = r.good
	if r.phase == Paused {
		in.Stack, pinned = r.mixed()
	}
	b := newBuilder(in)
	b.follow(r)
	b.pinned = pinned
	b.lookAgain(r)
	p := b.build()
	if r.phase == Paused {
		r.mark(p)
		return p
	}
	p.Back = r.memory.Good.Desired
	if failed := b.failedUpdate(); failed != nil && !p.Held {
		if next, step := Next(r.phase, Signs{HasGood: true, Failure: failed.action}); step == Quarantine {
			r.phase = next
			failed.message = "the rollback failed as well: " + failed.message
			r.quarantine(p, failed)
			return p
		}
	}
	r.mark(p)
	return p
}

// follow gives the builder what it has to know about the rollout.
func (b *builder) follow(r *rollout) {
	b.good, b.phase = r.good, r.phase
	if r.good != nil {
		b.known, b.goodReplicas = r.memory.Good, replicasOf(r.good)
	}
	if r.memory.Failed != nil {
		b.failedAt = r.memory.Failed.At
	}
}

// lookAgain looks up images of the quarantined stack that may have changed, and for newer
// ones by a pull_policy with a period: another image is tried.
func (b *builder) lookAgain(r *rollout) {
	for i := range r.in.Stack.Services {
		svc := &r.in.Stack.Services[i]
		for j := range svc.Replicas {
			rep := &svc.Replicas[j]
			_, ok := r.memory.Failed.Images[rep.Spec.Image]
			img := b.obs.Images[rep.Spec.Image]
			if !ok || img == nil || img.Missing {
				continue
			}
			b.refresh(svc, rep, img)
			if img.Stale {
				b.add(Op{
					Key: string(Resolve) + "/" + rep.Spec.Image, Kind: Resolve, Object: rep.Spec.Image, Background: true,
					Service: svc.Name, Cause: "images of the engine changed", Replica: rep,
				})
			}
		}
	}
}

// mark says in the status that what runs is not what is wanted.
func (r *rollout) mark(p *Plan) {
	f := r.memory.Failed
	reason, state := api.ReasonUpdatePaused, "is paused"
	if r.phase == RolledBack {
		reason, state = api.ReasonRolledBack, "was rolled back to "+shortRevision(r.memory.Good.Desired.Revision)
	}
	for i := range p.Status.Services {
		if svc := &p.Status.Services[i]; svc.Converged && !r.wants(svc) {
			svc.Converged, svc.Reason, svc.Message = false, reason, "runs the last known good; the update failed"
		}
	}
	kind := api.ConditionBlocked
	if r.phase == RolledBack && (!p.Status.Converged || p.changes() > 0) {
		reason, kind, state = api.ReasonRollingBack, api.ConditionDegraded, "is rolled back to "+shortRevision(r.memory.Good.Desired.Revision)
	}
	cond := api.Condition{
		Type: kind, Status: true, Reason: reason, Object: f.Container, Since: f.At,
		Message: fmt.Sprintf("revision %s %s: %s; it is not tried again before the stack changes, or ktrdrctl resume %s", shortRevision(f.Revision), state, f.Message, r.in.Stack.Name),
	}
	p.Status.Conditions = slices.Insert(p.Status.Conditions, 0, cond)
	p.Status.Converged = false
	if p.Status.Hold == nil {
		p.Status.Reason, p.Status.Message = cond.Reason, cond.Message
	}
}

// wants says whether a container is as the wanted stack has it, too.
func (r *rollout) wants(svc *api.ServiceStatus) bool {
	s := r.in.Stack.Service(svc.Service)
	if s == nil {
		return false
	}
	for i := range s.Replicas {
		if rep := &s.Replicas[i]; rep.Name == svc.Container {
			c := r.in.Observed.Containers[svc.ID]
			id, failed := r.memory.Failed.Images[rep.Spec.Image]
			return c != nil && c.SpecHash() == rep.SpecHash && (!failed || c.ImageID == id) || c == nil && svc.State == "completed"
		}
	}
	return false
}

func (r *rollout) status() *api.RolloutStatus {
	if r.memory.Good == nil && r.memory.Failed == nil {
		return nil
	}
	st := &api.RolloutStatus{Phase: string(r.phase), Failed: r.memory.Failed}
	if r.good != nil {
		st.Good, st.GoodAt = r.memory.Good.Desired.Revision, r.memory.Good.At
	}
	return st
}

// digestOf is the digest of a stack, which only tests leave to be computed.
func digestOf(s *api.Stack) string {
	if s.Digest != "" {
		return s.Digest
	}
	return s.SumDigest()
}

func shortRevision(revision string) string { return shortID(strings.TrimPrefix(revision, "dir-")) }
