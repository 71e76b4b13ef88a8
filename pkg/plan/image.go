package plan

import (
	"fmt"
	"slices"

	"ktrdr.io/fleet/pkg/api"
)

// resolveImage finds the local image of a slot or plans how to get it.
func (b *builder) resolveImage(s *slot) {
	if pin, ok := b.pinned[s.rep.Name]; ok && pin.ID != "" {
		b.resolvePinned(s, pin)
		return
	}
	ref := s.rep.Spec.Image
	img := b.obs.Images[ref]
	if img == nil || img.Stale {
		cause := "images of the engine changed"
		if img == nil {
			cause = "was not looked up yet"
		}
		key := b.add(Op{
			Key: string(Resolve) + "/" + ref, Kind: Resolve, Object: ref,
			Service: s.svc.Name, Cause: cause, Replica: s.rep,
		})
		s.imageNeeds = append(s.imageNeeds, key)
	}
	if img == nil {
		s.undecided = true
		return
	}
	if !img.Missing {
		s.image = img
	}
	if !img.Missing {
		b.refresh(s.svc, s.rep, img)
	}
	cause := b.pullCause(s, img)
	if cause == "" {
		return
	}
	if s.svc.PullPolicy.Policy == api.PullNever {
		s.problem = &problem{
			reason:  api.ReasonImageMissing,
			message: fmt.Sprintf("image %s is not on this node and pull_policy is never: load it, or change pull_policy", ref),
		}
		return
	}
	key := b.add(Op{
		Key: string(Pull) + "/" + ref, Kind: Pull, Object: ref,
		Service: s.svc.Name, Cause: cause, Replica: s.rep,
	})
	s.imageNeeds = append(s.imageNeeds, key)
	if _, failed := b.obs.Failures[key]; !failed && !slices.Contains(b.pulls, key) {
		b.pulls = append(b.pulls, key)
	}
}

// pullCause says why an image has to be fetched before the slot can go on; empty means it
// has not.
func (b *builder) pullCause(s *slot, img *api.Image) string {
	if s.svc.PullPolicy.Policy == api.PullAlways && img.PulledFor != b.in.Revision {
		return "pull_policy is always"
	}
	if img.Missing && !b.runsFrom(s) {
		return "image is not on this node"
	}
	return ""
}

// refresh looks for a newer image of a tag that is here, by a pull_policy with a period. It
// is a look in the background: nothing waits for it, and a registry that is away keeps no
// stack from being converged.
func (b *builder) refresh(svc *api.Service, rep *api.Replica, img *api.Image) {
	if svc.PullPolicy.Policy != api.PullEvery {
		return
	}
	looked := img.PulledAt
	if img.TaggedAt.After(looked) {
		looked = img.TaggedAt
	}
	if due := looked.Add(svc.PullPolicy.Every); due.After(b.in.Now) {
		b.wakeAt(due)
		return
	}
	b.add(Op{
		Key: string(Pull) + "/" + rep.Spec.Image, Kind: Pull, Object: rep.Spec.Image, Background: true, Service: svc.Name,
		Cause: fmt.Sprintf("pull_policy asks for a look every %s", svc.PullPolicy.Every), Replica: rep,
	})
}

// runsFrom says that a container of the wanted spec exists although its image lost its
// reference: nothing has to be fetched for it.
func (b *builder) runsFrom(s *slot) bool {
	for _, c := range s.found {
		if c.SpecHash() == s.rep.SpecHash {
			return true
		}
	}
	return false
}
