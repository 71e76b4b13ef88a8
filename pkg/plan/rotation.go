package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// KeeperSigns is what concerns kept secrets of all stacks of a node.
type KeeperSigns struct {
	// Stacks of the node that keep any: that binds those who use them in others.
	Stacks []*api.Stack
	// Earlier are digests of values that were replaced and are still at hand.
	Earlier map[string]bool
	// Denied are what the policy does not allow of them, by name: nothing of a stack that
	// has any is run now. Refused are values that break their rules, as in Input.
	Denied  map[string][]api.Condition
	Refused map[string]map[string]string
	// Unfit are references whose newest value breaks a rule of a stack that keeps it.
	Unfit map[string]bool
}

// Asking is where Keepers finds the signs; all fields are required.
type Asking struct {
	Denied  func(*api.Stack) []api.Condition
	Refused func(*api.Stack) map[string]string
	Earlier func() map[string]bool
}

// Keepers collects the signs of a node's stacks.
func Keepers(stacks []api.Stack, ask Asking) KeeperSigns {
	signs := KeeperSigns{Denied: map[string][]api.Condition{}, Refused: map[string]map[string]string{}, Unfit: map[string]bool{}}
	for i := range stacks {
		s := &stacks[i]
		if !slices.ContainsFunc(s.Services, func(svc api.Service) bool { return len(svc.Keeps) > 0 }) {
			continue
		}
		signs.Stacks = append(signs.Stacks, s)
		signs.Denied[s.Name], signs.Refused[s.Name] = ask.Denied(s), ask.Refused(s)
		for ref := range signs.Refused[s.Name] {
			signs.Unfit[ref] = true
		}
	}
	if len(signs.Stacks) > 0 {
		signs.Earlier = ask.Earlier()
	}
	return signs
}

// keeping is one kept secret of one wanted container, of any stack of the node.
type keeping struct {
	stack *api.Stack
	svc   *api.Service
	rep   *api.Replica
	kept  *api.KeptSecret
	signs KeptSigns
	state KeptState
	// c is its container, where there is exactly one; ready says that the command could be
	// run there but for a hold.
	c     *api.Container
	ready bool
	// since is when its last rotation ended.
	since time.Time
}

// weighSecrets decides which value of each secret is in force: what containers that are
// created now get, and what those that run are compared with.
func (b *builder) weighSecrets() {
	b.secrets = b.in.Secrets
	groups := map[string][]*keeping{}
	for _, k := range b.keepings() {
		groups[k.kept.Ref] = append(groups[k.kept.Ref], k)
	}
	if len(groups) == 0 {
		return
	}
	b.keepers = groups
	b.secrets, b.waits = maps.Clone(b.in.Secrets), map[string]*problem{}
	b.earlier, b.own = map[string]*problem{}, map[*api.Replica]map[string]string{}
	if b.secrets == nil {
		b.secrets = map[string]string{}
	}
	for _, ref := range slices.Sorted(maps.Keys(groups)) {
		b.weigh(ref, groups[ref])
	}
	for _, ref := range slices.Sorted(maps.Keys(groups)) {
		b.weighOwn(groups[ref])
	}
}

// keepings finds all kept secrets of the node, in the order of stacks and services.
func (b *builder) keepings() []*keeping {
	stacks := make([]*api.Stack, 0, len(b.in.Keepers.Stacks)+1)
	mine := false
	for _, s := range b.in.Keepers.Stacks {
		if s.Name == b.stack.Name {
			s, mine = b.stack, true // it may be the last known good
		}
		stacks = append(stacks, s)
	}
	if !mine {
		stacks = append(stacks, b.stack)
	}
	var list []*keeping
	for _, stack := range stacks {
		for i := range stack.Services {
			svc := &stack.Services[i]
			for j := range svc.Replicas {
				for n := range svc.Keeps {
					k := &keeping{stack: stack, svc: svc, rep: &svc.Replicas[j], kept: &svc.Keeps[n]}
					b.look(k)
					list = append(list, k)
				}
			}
		}
	}
	return list
}

// look reads the signs of one kept secret.
func (b *builder) look(k *keeping) {
	record, known := b.obs.Kept[api.KeptKey(k.stack.Project, k.rep.Name, k.kept.Ref)]
	var found []*api.Container
	for _, c := range b.obs.Containers {
		if c.Labels[api.LabelService] == k.svc.Name && number(c) == k.rep.Number && owner(k.stack, c) != foreign {
			found = append(found, c)
		}
	}
	k.since = record.Since
	k.signs = KeptSigns{
		Newest: b.in.Secrets[k.kept.Ref], Known: known, Accepted: record.Accepted, Tried: record.Tried,
		Exists: len(found) > 0, Command: len(k.kept.Exec) > 0,
	}
	if len(found) == 1 {
		k.c = found[0]
		k.ready = healthy(k.svc, k.c) && len(b.in.Keepers.Denied[k.stack.Name]) == 0 && !b.in.Keepers.Unfit[k.kept.Ref]
		k.signs.CanRun = k.ready && !b.isHeld(k.stack.Name)
		_, k.signs.Failed = b.obs.Failures[k.opKey()]
	}
	k.state = NextKept(k.signs)
}

// weigh decides about one secret from all that keep it.
func (b *builder) weigh(ref string, list []*keeping) {
	if i := slices.IndexFunc(list, func(k *keeping) bool { return k.state == KeptRefused }); i >= 0 {
		// What one can't have, the others must not get either.
		for _, k := range list {
			k.ready, k.signs.CanRun = false, false
			k.state = NextKept(k.signs)
		}
	}
	signs := make([]KeptSigns, len(list))
	for i, k := range list {
		signs[i] = k.signs
	}
	newest := b.in.Secrets[ref]
	agreed := Agreed(newest, signs)
	if agreed != newest && newest != "" {
		b.earlier[ref] = b.whyEarlier(ref, list)
	}
	if b.atHand(ref, agreed) {
		b.secrets[ref] = agreed
		return
	}
	delete(b.secrets, ref)
	if newest != "" {
		b.waits[ref] = b.whyEarlier(ref, list)
		if agreed != "" {
			b.waits[ref].message = strings.Replace(b.waits[ref].message, staysInUse, "the old value was lost with the memory of the host, so nothing that needs it is started", 1)
		}
	}
}

// weighOwn gives the containers that keep a secret the value that they have. Where that is
// lost, the newest does no harm: they don't apply it.
func (b *builder) weighOwn(list []*keeping) {
	for _, k := range list {
		if k.stack != b.stack {
			continue
		}
		b.keeping = append(b.keeping, k)
		if k.state == KeptUnborn {
			continue
		}
		view := b.own[k.rep]
		if view == nil {
			view = maps.Clone(b.secrets)
			b.own[k.rep] = view
		}
		ref := k.kept.Ref
		switch {
		case b.atHand(ref, k.signs.Accepted):
			view[ref] = k.signs.Accepted
		case k.signs.Newest != "":
			view[ref] = k.signs.Newest
		default:
			delete(view, ref)
		}
	}
}

func (b *builder) atHand(ref, digest string) bool {
	return digest != "" && (digest == b.in.Secrets[ref] || b.in.Keepers.Earlier[digest])
}

// secretsOf are the digests of the values that a replica gets. A reference without one has
// no value that it may get.
func (b *builder) secretsOf(rep *api.Replica) map[string]string {
	if own := b.own[rep]; own != nil {
		return own
	}
	return b.secrets
}

// whyEarlier says why a secret's newest value is not in force.
func (b *builder) whyEarlier(ref string, list []*keeping) *problem {
	worst := list[0]
	for _, k := range list {
		if rank(k.state) > rank(worst.state) {
			worst = k
		}
	}
	return worst.problem(b, ref)
}

// staysInUse is what becomes of a value that a rotation does not replace.
const staysInUse = "the old value stays in use"

func rank(s KeptState) int {
	return slices.Index([]KeptState{KeptUnborn, KeptSettled, KeptUnknown, KeptRotating, KeptWaiting, KeptRefused}, s)
}

// problem says in a sentence what a kept secret waits for.
func (k *keeping) problem(b *builder, ref string) *problem {
	where := fmt.Sprintf("service %q of stack %s", k.svc.Name, k.stack.Name)
	switch k.state {
	case KeptRefused:
		return &problem{reason: api.ReasonRotationRefused, message: fmt.Sprintf(
			"%s changed, but %s keeps the value of its first start and has no rotation command: "+staysInUse+". "+
				"Declare one in stack.yaml: services.%s.rotation: [{secret: %s, exec: [COMMAND]}], or keep: false if it applies the value at every start",
			k.known(ref), where, k.svc.Name, k.kept.Variable)}
	case KeptWaiting:
		if k.signs.Failed {
			return &problem{waiting: true, reason: api.ReasonRotationFailed, message: fmt.Sprintf(
				"the rotation of %s in %s failed: "+staysInUse, k.known(ref), where)}
		}
		return &problem{waiting: true, reason: api.ReasonRotating, message: fmt.Sprintf(
			"the rotation of %s in %s can't run now (%s): "+staysInUse, k.known(ref), where, k.whyNot(b))}
	case KeptUnknown:
		return &problem{waiting: true, reason: api.ReasonRotating, message: fmt.Sprintf(
			"waits until it is known which value of %s %s has", k.known(ref), where)}
	case KeptUnborn, KeptSettled, KeptRotating:
	}
	return &problem{waiting: true, reason: api.ReasonRotating, message: fmt.Sprintf(
		"waits until %s has the new value of %s", where, k.known(ref))}
}

// known names a secret by what people call it.
func (k *keeping) known(ref string) string {
	if k.kept.Variable == ref {
		return ref
	}
	return fmt.Sprintf("%s (%s)", k.kept.Variable, ref)
}

func (k *keeping) whyNot(b *builder) string {
	switch {
	case b.isHeld(k.stack.Name):
		return "the stack is on hold"
	case len(b.in.Keepers.Denied[k.stack.Name]) > 0:
		return "the node's policy denies the stack"
	case b.in.Keepers.Unfit[k.kept.Ref]:
		return "the new value breaks a rule of the stack"
	case k.c == nil || !healthy(k.svc, k.c):
		return "its container is not up and healthy"
	}
	return "another service can't have it"
}

func (b *builder) isHeld(stack string) bool {
	hold, ok := b.obs.Holds[stack]
	return ok && (hold.Until.IsZero() || hold.Until.After(b.in.Now))
}

// opKey names the rotation of a secret in a container to one value.
func (k *keeping) opKey() string {
	return fmt.Sprintf("%s/%s/%s@%s", Rotate, shortID(k.c.ID), api.SecretFileName(k.kept.Ref)[:8],
		shortID(strings.TrimPrefix(k.signs.Newest, "v1:")))
}
