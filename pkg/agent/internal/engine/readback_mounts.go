package engine

import (
	"regexp"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"ktrdr.io/fleet/pkg/api"
)

// anonymousName is what engines call volumes that nobody named.
var anonymousName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// readAnonymousVolumes maps container paths to the unnamed volumes mounted there, be
// they declared by the image, by the container, or inherited from a predecessor.
func readAnonymousVolumes(points []container.MountPoint) map[string]string {
	volumes := map[string]string{}
	for _, point := range points {
		if point.Type == mount.TypeVolume && anonymousName.MatchString(point.Name) {
			volumes[point.Destination] = point.Name
		}
	}
	if len(volumes) == 0 {
		return nil
	}
	return volumes
}

// readMounts reads Binds and Mounts into one list, sorted by target. Anonymous volumes
// are not in it.
func readMounts(host *container.HostConfig) []api.Mount {
	var mounts []api.Mount
	for _, bind := range host.Binds {
		if m, ok := parseBind(bind); ok {
			mounts = append(mounts, m)
		}
	}
	for _, m := range host.Mounts {
		if m.Type == mount.TypeVolume && (m.Source == "" || anonymousName.MatchString(m.Source)) {
			continue
		}
		mounts = append(mounts, readMount(m))
	}
	slices.SortFunc(mounts, func(a, b api.Mount) int { return strings.Compare(a.Target, b.Target) })
	return mounts
}

// parseBind reads the classic "source:target[:mode,...]".
func parseBind(bind string) (api.Mount, bool) {
	source, rest, ok := strings.Cut(bind, ":")
	if !ok || source == "" {
		return api.Mount{}, false
	}
	target, modes, _ := strings.Cut(rest, ":")
	m := api.Mount{Type: api.MountVolume, Source: source, Target: target}
	if strings.HasPrefix(source, "/") {
		m.Type, m.CreateHostPath = api.MountBind, true
	} else if anonymousName.MatchString(source) {
		return api.Mount{}, false
	}
	for mode := range strings.SplitSeq(modes, ",") {
		switch mode {
		case "ro":
			m.ReadOnly = true
		case "z", "Z":
			m.SELinux = mode
		case "nocopy":
			m.NoCopy = true
		case "rprivate", "private", "rshared", "shared", "rslave", "slave":
			m.Propagation = mode
		case "consistent", "cached", "delegated", "default":
			m.Consistency = mode
		}
	}
	return m, true
}

func readMount(m mount.Mount) api.Mount {
	read := api.Mount{
		Type: string(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly,
		Consistency: string(m.Consistency), Long: true,
	}
	if o := m.BindOptions; o != nil {
		read.CreateHostPath = o.CreateMountpoint
		read.Propagation = string(o.Propagation)
		switch {
		case o.NonRecursive:
			read.Recursive = "disabled"
		case o.ReadOnlyNonRecursive:
			read.Recursive = "writable"
		case o.ReadOnlyForceRecursive:
			read.Recursive = "readonly"
		}
	}
	if o := m.VolumeOptions; o != nil {
		read.NoCopy = o.NoCopy
		read.Subpath = o.Subpath
		read.VolumeLabels = o.Labels
	}
	if o := m.TmpfsOptions; o != nil {
		read.TmpfsSize = o.SizeBytes
		read.TmpfsMode = uint32(o.Mode)
	}
	if o := m.ImageOptions; o != nil {
		read.Subpath = o.Subpath
	}
	return read
}
