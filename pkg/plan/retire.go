package plan

import (
	"slices"

	"ktrdr.io/fleet/pkg/api"
)

// retire stops and removes what the slot no longer needs and returns the keys of the
// removals. first has to happen before the stops.
func (b *builder) retire(s *slot, first []string) []string {
	var removed []string
	for _, c := range s.obsolete {
		removed = append(removed, b.stopAndRemove(c, s.svc, s.whyObsolete(), first))
		s.ops++
	}
	return removed
}

func (s *slot) whyObsolete() string {
	if s.cause == "" {
		return "duplicate of " + s.rep.Name
	}
	return s.cause
}

// stopObsolete stops what the slot no longer needs and returns for each what to wait for
// until it is stopped.
func (b *builder) stopObsolete(s *slot, first []string) [][]string {
	var stopped [][]string
	for _, c := range s.obsolete {
		stopped = append(stopped, b.stopped(c, s.svc, s.whyObsolete(), first))
	}
	return stopped
}

// removeObsolete removes what was stopped, once its name is the successor's.
func (b *builder) removeObsolete(s *slot, stopped [][]string, renamed string) {
	for i, c := range s.obsolete {
		b.remove(c, s.svc, s.whyObsolete(), append(slices.Clone(stopped[i]), renamed))
		s.ops++
	}
}

func (b *builder) stopAndRemove(c *api.Container, svc *api.Service, cause string, first []string) string {
	return b.remove(c, svc, cause, b.stopped(c, svc, cause, first))
}

// stopped stops a container that runs and returns what to wait for until it does not.
func (b *builder) stopped(c *api.Container, svc *api.Service, cause string, first []string) []string {
	if !isUp(c) {
		return first
	}
	_, before := b.keys[string(Stop)+"/"+shortID(c.ID)]
	needs := []string{b.stop(c, svc.Name, cause, first)}
	if before { // for another reason, which does not wait for first
		needs = append(needs, first...)
	}
	return needs
}

func (b *builder) remove(c *api.Container, svc *api.Service, cause string, needs []string) string {
	return b.add(Op{
		Key: string(Remove) + "/" + shortID(c.ID), Kind: Remove, Object: c.Name, ID: c.ID, Service: svc.Name,
		Cause: cause, Needs: needs, Wanted: svc,
	})
}

func (b *builder) stop(c *api.Container, service, cause string, needs []string) string {
	op := Op{
		Key: string(Stop) + "/" + shortID(c.ID), Kind: Stop, Object: c.Name, ID: c.ID, Service: service,
		Cause: cause, Needs: needs, Grace: c.Spec.StopGrace,
	}
	if svc := b.stack.Service(service); svc != nil {
		op.Wanted = svc
	}
	return b.add(op)
}

// retireLast ends the containers that a slot with start-first replaces: after the new one
// is ready and everything is pulled. Services that restart with it start again only once
// the old one is gone.
func (b *builder) retireLast(s *slot) []string {
	if len(s.obsolete) == 0 {
		return nil
	}
	first := append(append([]string{s.ready}, b.pendingPulls()...), b.updateNeeds(s)...)
	replaced := slices.ContainsFunc(s.obsolete, isUp)
	removed := b.retire(s, append(first, b.stopDependents(s, first)...))
	if replaced && slices.ContainsFunc(b.slots, func(other *slot) bool { return restartsWith(other.svc, s.svc.Name) }) {
		s.started, s.ready = removed[0], removed[0]
	}
	return removed
}

// makeRoom frees the name of the slot from the container that is replaced, and returns the
// key of what does: a rename where the engine allows one, because a removal, which takes
// many times as long, then goes on beside the start. Otherwise the holder is removed first.
func (b *builder) makeRoom(s *slot, l launch, stopped [][]string) []string {
	holder := b.byName[s.rep.Name]
	i := slices.Index(s.obsolete, holder)
	if !l.temporary || i < 0 {
		return nil
	}
	aside := shortID(holder.ID) + "_" + s.rep.Name + "_replaced"
	if holder.State == api.StateDead || holder.State == api.StateRemoving || b.byName[aside] != nil {
		return []string{b.remove(holder, s.svc, s.whyObsolete(), stopped[i])}
	}
	return []string{b.add(Op{
		Key: string(Rename) + "/" + shortID(holder.ID), Kind: Rename, Object: holder.Name, ID: holder.ID, Service: s.svc.Name,
		Cause: "makes room for its successor", Needs: stopped[i], NewName: aside,
	})}
}
