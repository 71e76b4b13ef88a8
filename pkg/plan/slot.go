package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// planSlot plans what one wanted container still needs. It is called in start order, so
// the slots of dependencies are planned already.
func (b *builder) planSlot(s *slot) {
	if s.undecided {
		b.settleUndecided(s)
		return
	}
	if b.finishedJob(s) {
		return
	}
	gate := b.gate(s)
	if s.problem == nil {
		s.problem = b.preflight(s, gate)
	}
	if s.problem == nil {
		s.problem = b.awaitFollowers(s)
	}
	if s.problem == nil {
		b.protectObsolete(s)
	}
	if s.problem != nil {
		s.started, s.ready = blockedKey, blockedKey
		return
	}
	if s.keeper == nil {
		b.createAndStart(s, gate)
		return
	}
	b.adopt(s)
	b.tellEnvironment(s)
	b.fillFolder(s)
	b.keep(s, gate)
}

// blockedKey stands for something that no operation of this plan brings about.
const blockedKey = "blocked"

func (b *builder) settleUndecided(s *slot) {
	s.started, s.ready = blockedKey, blockedKey
	for _, c := range s.found {
		if isUp(c) {
			s.keeper = c // shown in the status; nothing is planned for it
			return
		}
	}
}

// finishedJob says that the slot is a job that ended well for its present spec.
func (b *builder) finishedJob(s *slot) bool {
	key := api.JobKey(b.stack.Project, s.svc.Name, s.rep.Name)
	hash := s.rep.SpecHash + b.digestOf(s)
	if s.keeper == nil {
		if s.done = s.svc.Job && (b.obs.Jobs[key] == hash || b.known.Jobs[key] == hash || b.phase == RolledBack); s.done {
			b.retire(s, nil)
		}
		return s.done
	}
	if !runsOnce(s) || !endedWell(s.keeper) {
		return false
	}
	s.done = true
	b.adopt(s)
	if s.svc.Job && b.obs.Jobs[key] != hash {
		b.add(Op{
			Key: string(RecordJob) + "/" + key, Kind: RecordJob, Object: s.rep.Name, Service: s.svc.Name,
			Cause: "job ended with exit code 0", SpecHash: hash, ID: key,
		})
	}
	removed := b.retire(s, nil)
	b.renameOp(s, launch{temporary: s.keeper.Name != s.rep.Name}, removed)
	return true
}

// endedWell says that the process ended by itself with exit code 0.
func endedWell(c *api.Container) bool {
	return c.State == api.StateExited && c.ExitCode == 0 && !c.StartedAt.IsZero() && c.Error == "" && !c.Facts.Interrupted
}

// runsOnce says that ending with exit code 0 is what the container is for: it is a job,
// or Compose was told never to restart it.
func runsOnce(s *slot) bool {
	return s.svc.Job || s.rep.Spec.Restart.Name == "" || s.rep.Spec.Restart.Name == "no" ||
		s.rep.Spec.Restart.Name == "on-failure"
}

// preflight checks all that has to hold before anything of the slot is touched.
func (b *builder) preflight(s *slot, gate gate) *problem {
	running := s.keeper != nil && isUp(s.keeper) && len(s.obsolete) == 0
	prob := b.objectsMissing(s)
	if prob == nil {
		prob = b.mountsMissing(s)
	}
	if prob == nil {
		prob = b.undeliverable(s)
	}
	if prob != nil && running {
		s.degraded = prob
		return nil
	}
	if prob == nil && !running {
		prob = gate.problem
	}
	if prob == nil {
		prob = b.nameTaken(s)
	}
	return prob
}

// objectsMissing reports the first network or volume that the slot can't have.
func (b *builder) objectsMissing(s *slot) *problem {
	for _, ep := range s.rep.Spec.Endpoints {
		if st := b.networks[ep.Network]; st != nil && st.problem != nil {
			return st.problem
		}
	}
	for _, m := range s.rep.Spec.Mounts {
		if prob := b.blocked[m.Source]; m.Type == api.MountVolume && prob != nil {
			return prob
		}
	}
	return nil
}

// nameTaken reports a foreign container that has the name.
func (b *builder) nameTaken(s *slot) *problem {
	holder := b.byName[s.rep.Name]
	if holder == nil || holder == s.keeper || owner(b.stack, holder) != foreign {
		return nil
	}
	why := "it belongs to no stack of this node"
	if p := holder.Labels[api.LabelProject]; p != "" {
		why = fmt.Sprintf("Compose made it for project %q in %s", p, holder.Labels[api.LabelWorkingDir])
	}
	fix := "rename or remove it"
	if holder.Labels[api.LabelProject] == b.stack.Project && holder.Labels[api.LabelWorkingDir] != "" {
		fix = fmt.Sprintf("add %s to adoptFrom of the stack to take it over, or remove it", holder.Labels[api.LabelWorkingDir])
	}
	return &problem{reason: api.ReasonNameConflict, message: fmt.Sprintf(
		"name %q is taken by container %s: %s; %s", s.rep.Name, shortID(holder.ID), why, fix)}
}

// mountsMissing reports the first required mount below which the slot binds and that is
// not there for real.
func (b *builder) mountsMissing(s *slot) *problem {
	for _, req := range b.stack.Mounts {
		if !slices.ContainsFunc(s.rep.Spec.Mounts, func(m api.Mount) bool {
			return m.Type == api.MountBind && m.Repo == nil && under(m.Source, req.Path)
		}) {
			continue
		}
		st, known := b.obs.Mounts[req.Path]
		if !known {
			return &problem{waiting: true, reason: api.ReasonMountMissing, message: fmt.Sprintf("mount %s was not probed yet", req.Path)}
		}
		if !st.OK {
			return &problem{waiting: true, reason: st.Reason, message: st.Message}
		}
	}
	return nil
}

// protectObsolete blocks the slot when data would go with a container it replaces.
func (b *builder) protectObsolete(s *slot) {
	for _, c := range s.obsolete {
		if !isUp(c) && c.StartedAt.IsZero() {
			continue // never ran: holds nothing
		}
		prob, measure := b.protect(c, s.svc.Protection)
		if prob != nil {
			s.problem = prob
			return
		}
		if measure != "" {
			s.imageNeeds = append(s.imageNeeds, measure)
		}
	}
}

// adopt remembers the keeper as one of the wanted spec, where only its effect says so.
func (b *builder) adopt(s *slot) {
	if !s.adopt || s.keeper.SpecHash() == s.rep.SpecHash && Carried(s.keeper) == b.digestOf(s) {
		return
	}
	s.ops++
	b.add(Op{
		Key: string(Adopt) + "/" + shortID(s.keeper.ID), Kind: Adopt, Object: s.keeper.Name, ID: s.keeper.ID,
		Service: s.svc.Name, Cause: "container is as wanted; taken over without a restart",
		Replica: s.rep, Wanted: s.svc, SpecHash: s.rep.SpecHash,
	})
}

// parents resolves "service:X" references of a spec to the ids known now.
func (b *builder) parents(s *slot) (map[string]string, []string) {
	parents := map[string]string{}
	var needs []string
	for _, name := range parentServices(&s.rep.Spec) {
		if p := b.parent(name); p != nil {
			parents[name] = p.ID
			continue
		}
		for _, ps := range b.services[name] {
			needs = append(needs, createKey(ps))
		}
	}
	return parents, needs
}

// parentServices lists services that a spec refers to by container id, sorted.
func parentServices(spec *api.ContainerSpec) []string {
	var names []string
	refs := append([]string{spec.NetworkMode, spec.IpcMode, spec.PidMode}, spec.VolumesFrom...)
	for _, ref := range refs {
		if name, ok := strings.CutPrefix(ref, "service:"); ok {
			name, _, _ = strings.Cut(name, ":")
			names = append(names, name)
		}
	}
	for _, link := range spec.Links {
		name, _, _ := strings.Cut(link, ":")
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// createKey names the creation of a slot's container for its present spec.
func createKey(s *slot) string {
	hash := strings.TrimPrefix(s.rep.SpecHash, api.HashVersion+":")
	return fmt.Sprintf("%s/%s@%s", Create, s.rep.Name, hash[:min(8, len(hash))])
}

func zeroIfPast(t, now time.Time) time.Time {
	if !t.After(now) {
		return time.Time{}
	}
	return t
}
