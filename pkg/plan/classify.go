package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// classify decides which of the slot's containers fulfils its spec.
func (b *builder) classify(s *slot) {
	if s.undecided || s.problem != nil && s.image == nil {
		s.undecided = true
		return
	}
	if b.learnKept(s) {
		s.undecided = true
		return
	}
	if prob := b.secretsMissing(s); prob != nil {
		if prob.reason != api.ReasonSecretInvalid {
			s.keeper = b.heldByFolder(s)
		}
		if s.keeper != nil {
			s.degraded = prob
			return
		}
		s.problem, s.undecided = prob, true
		return
	}
	var current []*api.Container
	var misfit fit
	for _, c := range s.found {
		switch fit := b.fits(s, c); {
		case fit.undecided:
			s.undecided = true
			return
		case fit.cause == "":
			current = append(current, c)
			s.adopt = s.adopt || fit.adopt
		default:
			s.obsolete = append(s.obsolete, c)
			if pick(s.obsolete, s.rep.Name) == c {
				misfit = fit
			}
		}
	}
	s.cause, s.diff = misfit.cause, misfit.diff
	leading(s.obsolete, pick(s.obsolete, s.rep.Name))
	s.keeper = pick(current, s.rep.Name)
	for _, c := range current {
		if c != s.keeper {
			s.obsolete = append(s.obsolete, c)
		}
	}
}

// leading moves first to the front: what a new container supersedes is the one that
// served, not what an interrupted change left behind.
func leading(list []*api.Container, first *api.Container) {
	if i := slices.Index(list, first); i > 0 {
		copy(list[1:i+1], list[:i])
		list[0] = first
	}
}

// pick prefers the container of the final name, then one that runs, then the newest.
func pick(current []*api.Container, name string) *api.Container {
	var best *api.Container
	rank := func(c *api.Container) int {
		n := 0
		if c.Name == name {
			n += 2
		}
		if isUp(c) {
			n++
		}
		return n
	}
	for _, c := range current {
		if best == nil || rank(c) > rank(best) {
			best = c
		}
	}
	return best
}

// fit is the verdict about one container; an empty cause means it fulfils the spec.
type fit struct {
	cause     string
	diff      []FieldDiff
	adopt     bool
	undecided bool
}

// fits compares a container with the spec: by hash when the agent made or adopted it,
// else by effect.
func (b *builder) fits(s *slot, c *api.Container) fit {
	if c.State == api.StateDead || c.State == api.StateRemoving {
		return fit{cause: "container is " + string(c.State)}
	}
	for _, name := range parentServices(&s.rep.Spec) {
		if slots := b.services[name]; len(slots) > 0 && slots[0].undecided {
			return fit{undecided: true}
		}
	}
	if cause := b.parentsChanged(s, c); cause != "" {
		return fit{cause: cause}
	}
	if s.image != nil && c.ImageID != s.image.ID {
		return fit{
			cause: fmt.Sprintf("image changed to %s", shortDigest(s.image.ID)),
			diff:  []FieldDiff{{Path: "image", Have: c.Image + " " + shortDigest(c.ImageID), Want: s.rep.Spec.Image + " " + shortDigest(s.image.ID)}},
		}
	}
	if c.SpecHash() == s.rep.SpecHash {
		if stuckLimit(s, c) {
			diff, _ := limitsDiff(s, c)
			return fit{cause: "a limit that was set by hand can't be lifted in place", diff: diff}
		}
		return b.fitsSecrets(s, c)
	}
	return b.fitsByEffect(s, c)
}

// Carried is the secret digest that a container was created or adopted with.
func Carried(c *api.Container) string {
	if c.Facts.SecretDigest != "" {
		return c.Facts.SecretDigest
	}
	return c.Labels[api.LabelSecretDigest]
}

func (b *builder) fitsSecrets(s *slot, c *api.Container) fit {
	if Carried(c) == b.digestOf(s) {
		return fit{cause: b.deliveryChanged(s, c)}
	}
	if b.carriesAll(s, c) {
		return fit{cause: b.deliveryChanged(s, c), adopt: true}
	}
	return fit{cause: "a secret changed"}
}

// fitsByEffect compares what the engine reports with what the spec would give. It is how
// containers of Compose and of older hash versions are taken over without a restart.
func (b *builder) fitsByEffect(s *slot, c *api.Container) fit {
	if s.image == nil {
		return fitWithoutImage(s, c)
	}
	diff := Diff(c.Spec, Effective(s.rep.Spec, s.image))
	byHash := c.SpecHash() != ""
	if byHash && (len(s.rep.Spec.Files) > 0 || len(s.rep.SecretRefs) > 0) {
		return fit{cause: "configuration changed", diff: diff}
	}
	secret := len(s.rep.SecretRefs) > 0
	if !secret && !hasRepoMounts(s.rep) || !secret && len(diff) > 0 {
		return fitOf(diff)
	}
	compared := s.rep.SpecHash + b.digestOf(s)
	if c.Facts.ComparedFor != compared {
		b.add(Op{
			Key: string(Compare) + "/" + shortID(c.ID), Kind: Compare, Object: c.Name, ID: c.ID, Service: s.svc.Name,
			Cause: "may be taken over; files and secrets have to be compared", Replica: s.rep, SpecHash: compared, Image: s.from,
		})
		return fit{undecided: true}
	}
	return fitOf(append(withoutKept(openedDiff(diff, c), s), filesDiff(s.rep, c)...))
}

// fitWithoutImage: before the image is here, only its name can be compared.
func fitWithoutImage(s *slot, c *api.Container) fit {
	have, want := imageName(c.Image), imageName(s.rep.Spec.Image)
	if have == want || isImageID(c.Image) {
		return fit{cause: "configuration changed"}
	}
	return fit{cause: "image changed", diff: []FieldDiff{{Path: "image", Have: c.Image, Want: s.rep.Spec.Image}}}
}

func fitOf(diff []FieldDiff) fit {
	if len(diff) == 0 {
		return fit{adopt: true}
	}
	return fit{cause: "configuration changed", diff: diff}
}

func hasRepoMounts(r *api.Replica) bool {
	return slices.ContainsFunc(r.Spec.Mounts, func(m api.Mount) bool { return m.Repo != nil })
}

// openedDiff keeps the differences that are there with secrets opened as well, which only
// apply can tell: a reference differs from every value.
func openedDiff(diff []FieldDiff, c *api.Container) []FieldDiff {
	return slices.DeleteFunc(slices.Clone(diff), func(d FieldDiff) bool { return !slices.Contains(c.Facts.OpenedDiff, d.Path) })
}

// filesDiff names the repository files whose content differs from what is bound.
func filesDiff(r *api.Replica, c *api.Container) []FieldDiff {
	var diff []FieldDiff
	for _, m := range r.Spec.Mounts {
		if m.Repo != nil && c.Facts.BindDigests[m.Target] != m.Repo.Digest {
			diff = append(diff, FieldDiff{Path: "volumes[" + m.Target + "]", Have: "(other content)", Want: m.Repo.Path})
		}
	}
	return diff
}

// parentsChanged compares the container whose namespace or volumes are shared with the
// one that the service has now.
func (b *builder) parentsChanged(s *slot, c *api.Container) string {
	for _, ref := range []struct{ want, have string }{
		{s.rep.Spec.NetworkMode, c.Spec.NetworkMode},
		{s.rep.Spec.IpcMode, c.Spec.IpcMode},
		{s.rep.Spec.PidMode, c.Spec.PidMode},
	} {
		name, ok := strings.CutPrefix(ref.want, "service:")
		if !ok {
			continue
		}
		parent := b.parent(name)
		if parent == nil || ref.have != "container:"+parent.ID {
			return fmt.Sprintf("service %q has a new container", name)
		}
	}
	return ""
}

// parent is the container of a service that others share namespaces or volumes with.
func (b *builder) parent(service string) *api.Container {
	slots := b.services[service]
	if len(slots) == 0 {
		return nil
	}
	return slots[0].keeper
}

func (b *builder) secretsMissing(s *slot) *problem {
	var missing []string
	for _, ref := range s.rep.SecretRefs {
		if rule := b.in.Refused[ref]; rule != "" {
			return &problem{waiting: true, reason: api.ReasonSecretInvalid, message: fmt.Sprintf(
				"%s (value of %s): nothing is changed until the secret provider has a valid one", rule, ref)}
		}
		if b.secretsOf(s.rep)[ref] != "" {
			continue
		}
		if prob := b.waits[ref]; prob != nil {
			return &problem{waiting: true, reason: prob.reason, message: prob.message}
		}
		missing = append(missing, ref)
	}
	if len(missing) == 0 {
		return nil
	}
	return &problem{waiting: true, reason: api.ReasonSecretMissing, message: fmt.Sprintf(
		"no value for %s: nothing is changed until the secret provider has it", strings.Join(missing, ", "))}
}

// SecretDigest combines the keyed digests of all secrets that a replica uses into the
// value of the label io.ktrdr.secret-digest. The digests are keyed with the node's own
// key, so weak values can't be guessed from it. It is empty for a replica without secrets.
//
// Secrets that the service keeps are in it by name only: their rotation replaces no
// container.
func SecretDigest(svc *api.Service, r *api.Replica, digests map[string]string) string {
	if svc == nil || len(svc.Keeps) == 0 {
		return digestOver(r.SecretRefs, digests)
	}
	named := make(map[string]string, len(r.SecretRefs))
	for _, ref := range r.SecretRefs {
		named[ref] = digests[ref]
		if svc.Kept(ref) != nil {
			named[ref] = "kept"
		}
	}
	return digestOver(r.SecretRefs, named)
}

func digestOver(refs []string, digests map[string]string) string {
	if len(refs) == 0 {
		return ""
	}
	h := sha256.New()
	for _, ref := range refs {
		fmt.Fprintf(h, "%s=%s\n", ref, digests[ref])
	}
	return "v1:" + hex.EncodeToString(h.Sum(nil))
}

func shortDigest(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return shortID(id)
}
