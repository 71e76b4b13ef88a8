package plan

import (
	"fmt"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// createAndStart plans a slot that has no container of the wanted spec. The new one is
// created before the old one is stopped, so a refused create never costs a service.
func (b *builder) createAndStart(s *slot, gate gate) {
	name, holder := s.rep.Name, b.byName[s.rep.Name]
	if holder != nil {
		name = shortID(holder.ID) + "_" + s.rep.Name
	}
	cause := s.cause
	if cause == "" {
		cause = "container does not exist"
	}
	parents, parentNeeds := b.parents(s)
	needs := append(append([]string(nil), s.imageNeeds...), parentNeeds...)
	if left := b.byName[name]; left != nil && owner(b.stack, left) != foreign {
		// An attempt of an earlier revision: it never took over, so nothing is lost with it.
		needs = append(needs, b.stopAndRemove(left, s.svc, "left over from an earlier change", nil))
	}
	needs = append(needs, b.objectNeeds(s)...)
	op := Op{
		Key: createKey(s), Kind: Create, Object: s.rep.Name, Service: s.svc.Name, Cause: cause, Diff: s.diff,
		Needs: needs, Replica: s.rep, Wanted: s.svc, NewName: name, Parents: parents, Image: s.from,
	}
	if len(s.obsolete) > 0 {
		op.Replaces = s.obsolete[0].ID
	}
	created := b.add(op)
	s.ops++
	b.startNew(s, gate, launch{created: created, name: name, temporary: name != s.rep.Name})
}

// launch is how far a new container has come.
type launch struct {
	created   string // key of its creation; empty when it exists
	name      string // that it is created under; empty when it exists
	temporary bool   // it still has a temporary name
	needs     []string
}

// startNew plans the steps from a created container to a running one, and the end of the
// one it replaces.
func (b *builder) startNew(s *slot, gate gate, l launch) {
	before := append([]string{l.created}, gate.needs...)
	before = append(before, l.needs...)
	copied := b.copyFiles(s, l.created)
	if b.startFirst(s) {
		b.startOp(s, append(append(before, copied), b.updateNeeds(s)...), "")
		b.renameOp(s, l, b.retireLast(s))
		return
	}
	first := append(append([]string(nil), before...), copied)
	first = append(first, b.pendingPulls()...)
	first = append(first, b.updateNeeds(s)...)
	first = append(first, b.stopDependents(s, first)...)
	stopped := b.stopObsolete(s, first)
	renamed := b.renameOp(s, l, b.makeRoom(s, l, stopped))
	needs := slices.Concat(before, []string{copied, renamed})
	for i, c := range s.obsolete {
		if isUp(c) {
			needs = append(needs, stopped[i]...)
		}
	}
	b.startOp(s, needs, "")
	b.removeObsolete(s, stopped, renamed)
}

// objectNeeds are the networks and volumes that have to be made first.
func (b *builder) objectNeeds(s *slot) []string {
	var needs []string
	for _, ep := range s.rep.Spec.Endpoints {
		if st := b.networks[ep.Network]; st != nil {
			needs = append(needs, st.key)
		}
	}
	for _, m := range s.rep.Spec.Mounts {
		if m.Type == api.MountVolume {
			needs = append(needs, b.volumes[m.Source])
		}
	}
	return needs
}

// pendingPulls are fetches of this stack that did not fail: everything is pulled before
// anything is stopped, and one bad image does not hold up the others.
func (b *builder) pendingPulls() []string { return b.pulls }

// copiedFiles are the files that no folder brings.
func (b *builder) copiedFiles(s *slot) []api.File {
	if !UsesFolder(b.stack, s.svc, s.rep) || s.keeper != nil && Folder(s.keeper) == "" {
		return s.rep.Spec.Files
	}
	_, copied := SplitFiles(s.rep.Spec.Files)
	return copied
}

func (b *builder) copyFiles(s *slot, created string) string {
	if len(b.copiedFiles(s)) == 0 || s.keeper != nil && s.keeper.Facts.FilesCopied {
		return ""
	}
	if s.keeper != nil && s.keeper.State != api.StateCreated {
		return "" // written before its first start
	}
	op := Op{
		Key: string(CopyFiles) + "/" + s.rep.Name, Kind: CopyFiles, Object: s.rep.Name, Service: s.svc.Name,
		Cause: "configs and secrets with content", Needs: []string{created}, Replica: s.rep,
	}
	if s.keeper != nil {
		op.ID = s.keeper.ID
	}
	return b.add(op)
}

// renameOp gives the slot's container its final name once nobody else has it: freed are the
// keys of operations that see to that, where the plan has any.
func (b *builder) renameOp(s *slot, l launch, freed []string) string {
	if !l.temporary {
		return ""
	}
	needs := append([]string{l.created}, freed...)
	if holder := b.byName[s.rep.Name]; len(freed) == 0 && holder != nil && holder != s.keeper {
		needs = append(needs, string(Remove)+"/"+shortID(holder.ID))
	}
	op := Op{
		Key: string(Rename) + "/" + s.rep.Name, Kind: Rename, Object: l.name, Service: s.svc.Name,
		Cause: "takes its final name", Needs: needs, NewName: s.rep.Name,
	}
	if s.keeper != nil {
		op.ID = s.keeper.ID
		op.Object = s.keeper.Name
	}
	s.ops++
	return b.add(op)
}

// startOp plans the start and what tells that it worked, and sets the keys that
// dependents wait for.
func (b *builder) startOp(s *slot, needs []string, cause string) {
	op := Op{
		Key: string(Start) + "/" + s.rep.Name, Kind: Start, Object: s.rep.Name, Service: s.svc.Name,
		Cause: cause, Needs: needs, Replica: s.rep, Wanted: s.svc,
	}
	if s.keeper != nil {
		op.ID = s.keeper.ID
		op.Key = string(Start) + "/" + shortID(s.keeper.ID)
		op.NotBefore = zeroIfPast(startNotBefore(s.keeper), b.in.Now)
	}
	if op.Cause == "" {
		op.Cause = endCause(s.keeper)
	}
	s.ops++
	s.started = b.add(op)
	s.ready = s.started
	if s.gated() {
		s.ready = b.add(Op{
			Key: string(Probe) + "/" + s.rep.Name, Kind: Probe, Object: s.rep.Name, Service: s.svc.Name,
			Cause: "has to become healthy", Needs: []string{s.started}, Replica: s.rep, Wanted: s.svc,
		})
	}
	if len(s.svc.PostStart) > 0 {
		b.add(Op{
			Key: string(Hook) + "/" + s.rep.Name, Kind: Hook, Object: s.rep.Name, Service: s.svc.Name,
			Cause: "post_start", Needs: []string{s.started}, Replica: s.rep, Wanted: s.svc,
		})
	}
}

// endCause says why a container has to be started; nil is one that is yet to be created.
func endCause(c *api.Container) string {
	switch {
	case c == nil || c.StartedAt.IsZero():
		return "container is not started"
	case c.OOMKilled:
		return fmt.Sprintf("container ran out of memory (exit code %d)", c.ExitCode)
	case c.Facts.Interrupted:
		return fmt.Sprintf("container was stopped (exit code %d)", c.ExitCode)
	default:
		return fmt.Sprintf("container ended with exit code %d", c.ExitCode)
	}
}

// gated says that something tells whether the service is healthy.
func (s *slot) gated() bool {
	if s.svc.Probe != nil {
		return true
	}
	check := s.rep.Spec.Healthcheck
	if check == nil && s.image != nil {
		check = s.image.Config.Healthcheck
	}
	if check == nil {
		return false
	}
	test := check.Test
	if len(test) == 0 && s.image != nil && s.image.Config.Healthcheck != nil {
		test = s.image.Config.Healthcheck.Test
	}
	return len(test) > 0 && !strings.EqualFold(test[0], "NONE")
}

// startFirst says that old and new may run at once: asked for, and nothing exclusive.
func (b *builder) startFirst(s *slot) bool {
	spec, order := &s.rep.Spec, b.policy(s.svc).Order
	if order != "start-first" || len(spec.Ports) > 0 || spec.MacAddress != "" {
		return false
	}
	if spec.NetworkMode != "" && spec.NetworkMode != "bridge" && spec.NetworkMode != "none" {
		return false
	}
	for _, ep := range spec.Endpoints {
		if ep.IPv4Address != "" || ep.IPv6Address != "" || ep.MacAddress != "" {
			return false
		}
	}
	for _, m := range spec.Mounts {
		if (m.Type == api.MountVolume || m.Type == api.MountBind) && !m.ReadOnly && m.Repo == nil {
			return false
		}
	}
	return true
}
