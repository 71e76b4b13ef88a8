package plan

import (
	"fmt"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// followLimit is how long after a rotation others wait for those who use the secret in the
// stack of the service that keeps it.
const followLimit = 15 * time.Minute

// awaitFollowers keeps a container that runs with an earlier value of a rotated secret,
// until those who use the secret in the stack of its keeper have the new one and are
// healthy. What does not run is not held back, nor what has a successor already.
func (b *builder) awaitFollowers(s *slot) *problem {
	if s.keeper != nil || len(b.keepers) == 0 {
		return nil
	}
	digest := b.digestOf(s)
	if !slices.ContainsFunc(s.obsolete, func(c *api.Container) bool { return isUp(c) && Carried(c) != digest }) {
		return nil
	}
	for _, ref := range s.rep.SecretRefs {
		for _, k := range b.keepers[ref] {
			if !b.ordered(k) {
				continue
			}
			if prob := b.behind(k); prob != nil {
				return prob
			}
		}
	}
	return nil
}

// ordered says that the stack comes after that of a keeper: it was rotated lately, this
// stack does not keep the secret itself, and the other one needs nothing that it keeps.
func (b *builder) ordered(k *keeping) bool {
	since := b.in.Now.Sub(k.since)
	if k.since.IsZero() || since < 0 || since >= followLimit {
		return false
	}
	own := func(o *keeping) bool { return o.stack.Name == b.stack.Name }
	return !slices.Contains(b.in.asking, k.stack.Name) && !slices.ContainsFunc(b.keepers[k.kept.Ref], own) && !b.needs(k.stack.Name, map[string]bool{})
}

// needs says that a stack uses what this one keeps, or what another one keeps that does.
// Stacks that need each other are in no order, so that none waits for itself.
func (b *builder) needs(stack string, seen map[string]bool) bool {
	if seen[stack] {
		return false
	}
	seen[stack] = true
	for ref, list := range b.keepers {
		if !b.usesNow(stack, ref) {
			continue
		}
		for _, k := range list {
			if k.stack.Name == b.stack.Name || b.needs(k.stack.Name, seen) {
				return true
			}
		}
	}
	return false
}

// usesNow says that a stack that keeps secrets, or its last known good, uses one.
func (b *builder) usesNow(stack, ref string) bool {
	uses := func(s *api.Stack) bool {
		return s != nil && s.Name == stack && slices.ContainsFunc(s.Services, func(svc api.Service) bool { return usesSecret(&svc, ref) })
	}
	if r := b.obs.Rollouts[stack]; r != nil && uses(r.Good.Stack()) {
		return true
	}
	for _, list := range b.keepers {
		if slices.ContainsFunc(list, func(k *keeping) bool { return uses(k.stack) }) {
			return true
		}
	}
	return false
}

func usesSecret(svc *api.Service, ref string) bool {
	return slices.ContainsFunc(svc.Replicas, func(rep api.Replica) bool { return slices.Contains(rep.SecretRefs, ref) })
}

// behind finds a container of a keeper's stack that uses the secret, has not got the new
// value, and will get it without a person.
func (b *builder) behind(k *keeping) *problem {
	stack := k.stack
	if back := InForce(stack, b.obs); back != nil {
		stack = &back.Stacks[0]
	}
	for i := range stack.Services {
		svc := &stack.Services[i]
		if svc.Kept(k.kept.Ref) != nil {
			continue
		}
		for j := range svc.Replicas {
			rep := &svc.Replicas[j]
			if !slices.Contains(rep.SecretRefs, k.kept.Ref) || b.follows(stack, svc, rep) {
				continue
			}
			if next, coming := b.coming(k.stack, svc, rep); coming {
				b.wakeAt(k.since.Add(followLimit))
				return &problem{waiting: true, reason: api.ReasonRotating, message: fmt.Sprintf(
					"waits until service %q of stack %s has the new value of %s and is healthy (%s: %s)",
					svc.Name, stack.Name, k.known(k.kept.Ref), rep.Name, next)}
			}
		}
	}
	return nil
}

// follows says that a container of another stack has the values in force, and is healthy.
func (b *builder) follows(stack *api.Stack, svc *api.Service, rep *api.Replica) bool {
	digest := SecretDigest(svc, rep, b.secrets)
	for _, c := range b.obs.Containers {
		if c.Labels[api.LabelService] == svc.Name && number(c) == rep.Number && owner(stack, c) != foreign &&
			Carried(c) == digest && healthy(svc, c) {
			return true
		}
	}
	return false
}

// coming asks the plan of another stack whether it brings a container to what is wanted,
// and what is next. It does not while the stack is held or denied, where the container is
// blocked or unhealthy, and where what it needs fails again and again.
func (b *builder) coming(stack *api.Stack, svc *api.Service, rep *api.Replica) (next string, coming bool) {
	p := b.planOf(stack)
	at := slices.IndexFunc(p.Status.Services, func(st api.ServiceStatus) bool { return st.Container == rep.Name && st.Service == svc.Name })
	if at < 0 || p.Held {
		return "", false
	}
	st := p.Status.Services[at]
	if st.Converged || st.Reason == api.ReasonRotating {
		return st.Message, !st.Converged
	}
	byKey := make(map[string]*Op, len(p.Ops))
	for i := range p.Ops {
		byKey[p.Ops[i].Key] = &p.Ops[i]
	}
	planned, retried := false, false
	for i := range p.Ops {
		op := &p.Ops[i]
		if op.Background || op.Service != svc.Name || op.Replica != nil && op.Replica.Name != rep.Name {
			continue
		}
		if b.stuck(byKey, op.Key, map[string]bool{}) {
			return "", false
		}
		_, failed := b.obs.Failures[op.Key]
		planned, retried = true, retried || failed
	}
	return st.Message, planned && (retried || st.Reason == api.ReasonProgressing)
}

// stuck says that an operation of another stack, or one that it needs, failed for good or
// again and again.
func (b *builder) stuck(ops map[string]*Op, key string, seen map[string]bool) bool {
	op := ops[key]
	if op == nil || seen[key] {
		return false
	}
	seen[key] = true
	return op.Stalled || b.obs.Failures[key].Count >= refusals ||
		slices.ContainsFunc(op.Needs, func(need string) bool { return b.stuck(ops, need, seen) })
}

// planOf is what another stack, which keeps secrets, has left to do.
func (b *builder) planOf(stack *api.Stack) *Plan {
	if p := b.elsewhere[stack.Name]; p != nil {
		return p
	}
	in := b.in
	in.Stack, in.Rehearsal, in.asking = stack, true, append(slices.Clone(b.in.asking), b.stack.Name)
	in.Denied, in.Refused = b.in.Keepers.Denied[stack.Name], b.in.Keepers.Refused[stack.Name]
	p := Build(in)
	if b.elsewhere == nil {
		b.elsewhere = map[string]*Plan{}
	}
	b.elsewhere[stack.Name] = p
	b.plan.Follows = append(b.plan.Follows, stack.Name)
	return p
}
