package plan

import (
	"maps"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// learnKept plans to find out what a container has that is there already; nothing is
// decided about it before.
func (b *builder) learnKept(s *slot) bool {
	planned := false
	for _, k := range b.keeping {
		if k.rep != s.rep || k.state != KeptUnknown {
			continue
		}
		c := pick(s.found, s.rep.Name)
		b.add(Op{
			Key: string(LearnKept) + "/" + shortID(c.ID) + "/" + api.SecretFileName(k.kept.Ref)[:8], Kind: LearnKept,
			Object: c.Name, ID: c.ID, Service: s.svc.Name, Cause: "keeps the value of " + k.kept.Variable + " that it got at its first start",
			Replica: s.rep, Wanted: s.svc, Kept: k.kept, Digest: k.signs.Newest,
		})
		planned = true
	}
	return planned
}

// rotate plans the rotation commands of a slot's container, before what replaces it.
func (b *builder) rotate(s *slot) {
	for _, k := range b.keeping {
		if k.rep != s.rep || !k.ready || k.state != KeptRotating && k.state != KeptWaiting {
			continue
		}
		key := b.add(Op{
			Key: k.opKey(), Kind: Rotate, Object: k.c.Name, ID: k.c.ID, Service: s.svc.Name,
			Cause: "the value of " + k.kept.Variable + " changed", Replica: s.rep, Wanted: s.svc, Kept: k.kept, Digest: k.signs.Newest,
		})
		s.ops++
		if k.state == KeptRotating {
			s.imageNeeds = append(s.imageNeeds, key)
		}
	}
}

// fillFolder plans to bring what a running container keeps into its folder, where its
// healthcheck and `docker exec` read it. Others get another value with another container.
func (b *builder) fillFolder(s *slot) {
	folder := Folder(s.keeper)
	if len(s.svc.Keeps) == 0 || folder == "" || !isUp(s.keeper) || s.undecided || b.secretsMissing(s) != nil ||
		b.obs.Folders[folder] == FolderDigest(s.svc, s.rep, b.secretsOf(s.rep)) {
		return
	}
	s.ops++
	b.add(Op{
		Key: string(FillFolder) + "/" + shortID(s.keeper.ID), Kind: FillFolder, Object: s.keeper.Name, ID: s.keeper.ID,
		Service: s.svc.Name, Cause: "its secrets are not those in force", Replica: s.rep, Wanted: s.svc,
	})
}

// tellRotations says in the conditions which secrets are not what the provider has.
func (b *builder) tellRotations() {
	told := map[string]bool{}
	for _, k := range b.keeping {
		prob := b.earlier[k.kept.Ref]
		if prob == nil || k.state == KeptSettled || k.state == KeptUnborn || k.state == KeptRotating {
			continue
		}
		kind := api.ConditionDegraded
		if k.state == KeptRefused {
			kind = api.ConditionBlocked
		}
		if k.state == KeptWaiting && k.signs.Failed && k.ready {
			told[k.kept.Ref] = true
			continue // the failed operation says it
		}
		prob = k.problem(b, k.kept.Ref)
		told[k.kept.Ref] = true
		b.pooled = append(b.pooled, api.Condition{Type: kind, Status: true, Reason: prob.reason, Message: prob.message, Object: k.rep.Name})
	}
	for _, s := range b.slots {
		for _, ref := range s.rep.SecretRefs {
			prob := b.earlier[ref]
			if prob == nil || told[ref] || b.secrets[ref] == "" {
				continue
			}
			told[ref] = true
			b.pooled = append(b.pooled, api.Condition{
				Type: api.ConditionDegraded, Status: true, Reason: prob.reason, Object: s.rep.Name, Message: prob.message,
			})
		}
	}
}

// digestOf is the secret digest that a slot's container shall carry.
func (b *builder) digestOf(s *slot) string { return SecretDigest(s.svc, s.rep, b.secretsOf(s.rep)) }

// CarriesAll says that a container carries a digest over all of its secrets, the kept ones
// included, as those of earlier agents do and those from before a rotation was declared.
func CarriesAll(c *api.Container, rep *api.Replica, digests map[string]string) bool {
	have := Carried(c)
	return have != "" && have == digestOver(rep.SecretRefs, digests)
}

// carriesAll says so of a slot's container and the values that it is known to keep.
func (b *builder) carriesAll(s *slot, c *api.Container) bool {
	if len(s.svc.Keeps) == 0 {
		return false
	}
	all := maps.Clone(b.secretsOf(s.rep))
	for _, k := range b.keeping {
		if k.rep == s.rep && k.signs.Accepted != "" {
			all[k.kept.Ref] = k.signs.Accepted
		}
	}
	return CarriesAll(c, s.rep, all)
}

// withoutKept drops differences of variables that hold nothing but kept secrets: such a
// container has what it got at its first start, whatever its environment says.
func withoutKept(diff []FieldDiff, s *slot) []FieldDiff {
	if len(s.svc.Keeps) == 0 {
		return diff
	}
	return slices.DeleteFunc(slices.Clone(diff), func(d FieldDiff) bool {
		name, ok := strings.CutPrefix(d.Path, "environment.")
		if !ok {
			return false
		}
		i := slices.IndexFunc(s.rep.Spec.Env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
		if i < 0 {
			return false
		}
		refs := api.References(s.rep.Spec.Env[i])
		return len(refs) > 0 && !slices.ContainsFunc(refs, func(ref string) bool { return s.svc.Kept(ref) == nil })
	})
}
