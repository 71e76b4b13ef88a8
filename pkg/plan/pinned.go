package plan

import (
	"fmt"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// resolvePinned finds the image that a container of the last known good ran, whatever its
// tag means by now. It is pulled by its digest only where somebody removed it.
func (b *builder) resolvePinned(s *slot, pin api.ImagePin) {
	img := b.obs.Images[pin.ID]
	if img == nil || img.Stale {
		cause := "images of the engine changed"
		if img == nil {
			cause = "was not looked up yet"
		}
		s.imageNeeds = append(s.imageNeeds, b.add(Op{
			Key: string(Resolve) + "/" + pin.ID, Kind: Resolve, Object: pin.ID, Service: s.svc.Name, Cause: cause, Replica: s.rep,
		}))
	}
	switch {
	case img == nil:
		s.undecided = true
	case !img.Missing:
		known := *img
		known.Digest = pin.Digest
		s.image = &known
		if tag := b.obs.Images[s.rep.Spec.Image]; tag == nil || tag.Missing || tag.Stale || tag.ID != pin.ID {
			s.from = pin.ID
		}
	case b.runsFrom(s):
	case pin.Digest == "":
		s.problem = &problem{reason: api.ReasonImageMissing, message: fmt.Sprintf(
			"image %s (%s) of the last known good is not on this node any more, and it came from no registry: load it, or push another revision", s.rep.Spec.Image, shortDigest(pin.ID))}
	default:
		ref := repository(s.rep.Spec.Image) + "@" + pin.Digest
		s.imageNeeds = append(s.imageNeeds, b.add(Op{
			Key: string(Pull) + "/" + ref, Kind: Pull, Object: ref, Service: s.svc.Name,
			Cause: "image of the last known good is not on this node", Replica: s.rep,
		}))
		s.undecided = true
	}
}

// repository is a reference without its tag and digest.
func repository(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		ref = ref[:i]
	}
	return ref
}
