package desired

import (
	"fmt"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// mounts merges what the stack and the node require. Both asking for one path is one
// mount with the stricter of each.
func (b *stackBuild) mounts() []api.RequiredMount {
	merged := map[string]api.RequiredMount{}
	for i, spec := range b.stack.Spec.Mounts {
		b.mount(merged, spec, b.stack.doc.at(fmt.Sprintf("spec.mounts[%d].path", i)))
	}
	for i, spec := range b.node.node.Spec.Mounts {
		b.mount(merged, spec, b.node.node.doc.at(fmt.Sprintf("spec.mounts[%d].path", i)))
	}
	out := make([]api.RequiredMount, 0, len(merged))
	for _, p := range keysOf(merged) {
		out = append(out, merged[p])
	}
	return out
}

func (b *stackBuild) mount(merged map[string]api.RequiredMount, spec api.MountSpec, at Problem) {
	p := b.hostPath(spec.Path, at)
	mount, both := merged[p]
	timeout := orDefault(time.Duration(spec.Timeout), defaultMountTimeout)
	if both && mount.Type != "" && spec.Type != "" && mount.Type != spec.Type {
		b.fail(at, "must be of type %s for the stack and %s for the node", mount.Type, spec.Type)
	}
	if both && mount.GID != nil && spec.GID != nil && *mount.GID != *spec.GID {
		b.fail(at, "must belong to group %d for the stack and %d for the node", *mount.GID, *spec.GID)
	}
	merged[p] = api.RequiredMount{
		Path: p, Type: orDefault(spec.Type, mount.Type), Writable: spec.Writable || mount.Writable,
		GID: orDefault(spec.GID, mount.GID), Timeout: max(timeout, mount.Timeout),
	}
}
