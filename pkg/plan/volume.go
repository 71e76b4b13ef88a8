package plan

import (
	"fmt"

	"ktrdr.io/fleet/pkg/api"
)

// planVolumes creates what is missing. Nothing here ever removes or recreates a volume.
func (b *builder) planVolumes() {
	for i := range b.stack.Volumes {
		spec := &b.stack.Volumes[i]
		found := b.obs.Volumes[spec.Name]
		switch {
		case found == nil && spec.External:
			b.blocked[spec.Name] = &problem{
				waiting: true, reason: api.ReasonExternalMissing,
				message: fmt.Sprintf("external volume %q does not exist: create it with `docker volume create %s`, or remove external: true", spec.Name, spec.Name),
			}
		case found == nil:
			b.volumes[spec.Name] = b.add(Op{
				Key: string(CreateVolume) + "/" + spec.Name, Kind: CreateVolume, Object: spec.Name,
				Cause: "volume does not exist", Volume: spec,
			})
		case !spec.External && found.Labels[api.LabelStack] == b.stack.Name && found.Labels[api.LabelSpecHash] != spec.Hash():
			b.pooled = append(b.pooled, api.Condition{
				Type: api.ConditionDegraded, Status: true, Reason: api.ReasonVolumeDiverged, Object: spec.Name,
				Message: fmt.Sprintf("volume %q was made with another configuration and is kept: move its data to a volume of a new name, volumes are never recreated", spec.Name),
			})
		}
	}
}
