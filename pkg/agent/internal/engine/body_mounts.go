package engine

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"ktrdr.io/fleet/pkg/api"
)

// mountsOf splits a spec's mounts as docker compose does: the classic bind string where
// it says everything, because it alone makes a missing source folder on every engine;
// the Mounts API for the rest. Anonymous volumes of the predecessor take their places.
func mountsOf(s *session, req CreateRequest) ([]string, []mount.Mount, error) {
	var (
		binds  []string
		mounts []mount.Mount
		errs   []error
	)
	inherit := maps.Clone(req.InheritVolumes)
	for target := range req.Spec.Tmpfs {
		delete(inherit, target)
	}
	for _, m := range req.Spec.Mounts {
		if m.Repo != nil {
			errs = append(errs, fmt.Errorf("mount %s: repository file %s has no host path", m.Target, m.Repo.Path))
			continue
		}
		switch {
		case m.Type == api.MountVolume && m.Source == "":
			m.Source = inherit[m.Target]
			mounts = append(mounts, mountOf(m))
		case classicBind(s, m):
			binds = append(binds, bindString(m))
		default:
			mounts = append(mounts, mountOf(m))
		}
		delete(inherit, m.Target)
	}
	for _, target := range slices.Sorted(maps.Keys(inherit)) {
		mounts = append(mounts, mount.Mount{Type: mount.TypeVolume, Source: inherit[target], Target: target})
	}
	return binds, mounts, errors.Join(errs...)
}

// classicBind tells whether "source:target:mode" says all of a mount. Propagation can be
// said, but compose sends it as a Mount; engines before API 1.42 would then fail on a
// missing source folder instead of making it.
func classicBind(s *session, m api.Mount) bool {
	switch m.Type {
	case api.MountBind:
		return m.CreateHostPath && m.Recursive == "" && (m.Propagation == "" || !s.atLeast("1.42"))
	case api.MountVolume:
		return !m.NoCopy && m.Subpath == "" && len(m.VolumeLabels) == 0
	}
	return false
}

func bindString(m api.Mount) string {
	modes := []string{"rw"}
	if m.ReadOnly {
		modes[0] = "ro"
	}
	if m.SELinux != "" {
		modes = append(modes, m.SELinux)
	}
	if m.Propagation != "" {
		modes = append(modes, m.Propagation)
	}
	return m.Source + ":" + m.Target + ":" + strings.Join(modes, ",")
}

func mountOf(m api.Mount) mount.Mount {
	made := mount.Mount{
		Type: mount.Type(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly,
		Consistency: mount.Consistency(m.Consistency),
	}
	switch m.Type {
	case api.MountBind:
		made.BindOptions = &mount.BindOptions{
			Propagation: mount.Propagation(m.Propagation), CreateMountpoint: m.CreateHostPath,
			NonRecursive:           m.Recursive == "disabled",
			ReadOnlyNonRecursive:   m.Recursive == "writable",
			ReadOnlyForceRecursive: m.Recursive == "readonly",
		}
	case api.MountVolume:
		made.VolumeOptions = &mount.VolumeOptions{NoCopy: m.NoCopy, Subpath: m.Subpath, Labels: m.VolumeLabels}
	case api.MountTmpfs:
		made.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: m.TmpfsSize, Mode: os.FileMode(m.TmpfsMode)}
	case api.MountImage:
		made.ImageOptions = &mount.ImageOptions{Subpath: m.Subpath}
	}
	return made
}
