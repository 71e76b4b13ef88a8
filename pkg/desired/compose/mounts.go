package compose

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/api"
)

// files maps volumes, configs and secrets. Of two with one target the first wins in
// Compose's order: volumes, then secrets, then configs.
func (m *mapper) files(s *types.ServiceConfig, spec *api.ContainerSpec) {
	taken := map[string]bool{}
	for i, volume := range s.Volumes {
		place := fmt.Sprintf("%s.volumes[%d]", at(s.Name), i)
		if mount, ok := m.mount(place, volume); ok {
			spec.Mounts = append(spec.Mounts, mount)
		}
		taken[volume.Target] = true
	}
	for i, secret := range s.Secrets {
		o := object{kind: "secret", place: fmt.Sprintf("%s.secrets[%d]", at(s.Name), i), base: "/run/secrets/"}
		o.use, o.definition = types.FileReferenceConfig(secret), types.FileObjectConfig(m.model.Secrets[secret.Source])
		_, o.defined = m.model.Secrets[secret.Source]
		m.object(o, s, spec, taken)
	}
	for i, config := range s.Configs {
		o := object{kind: "config", place: fmt.Sprintf("%s.configs[%d]", at(s.Name), i), base: "/"}
		o.use, o.definition = types.FileReferenceConfig(config), types.FileObjectConfig(m.model.Configs[config.Source])
		_, o.defined = m.model.Configs[config.Source]
		m.object(o, s, spec, taken)
	}
}

// mount maps one volume entry. Long is set where Compose uses the Mounts API.
// Source: docker/compose buildMount, bindRequiresMountAPI, volumeRequiresMountAPI.
func (m *mapper) mount(place string, v types.ServiceVolumeConfig) (api.Mount, bool) {
	out := api.Mount{
		Type: v.Type, Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly, Consistency: v.Consistency,
	}
	if v.Bind != nil {
		out.SELinux, out.Propagation = v.Bind.SELinux, v.Bind.Propagation
	}
	m.strayOptions(place, v)
	switch v.Type {
	case api.MountBind:
		ok := m.bind(place, v, &out)
		return out, ok
	case api.MountVolume:
		ok := m.volumeMount(place, v, &out)
		return out, ok
	case api.MountTmpfs:
		out.Long = true
		if v.Tmpfs != nil {
			out.TmpfsSize, out.TmpfsMode = int64(v.Tmpfs.Size), v.Tmpfs.Mode
		}
	case api.MountImage:
		out.Long = true
		if v.Image != nil {
			out.Subpath = v.Image.SubPath
		}
	case api.MountNamedPipe, api.MountCluster:
		out.Long = true
	default:
		m.found.errorf(place, "volume type %q is not one of bind, volume, tmpfs, image, npipe, cluster", v.Type)
		return out, false
	}
	return out, true
}

// strayOptions warns about options of another type; Compose does not send them either.
func (m *mapper) strayOptions(place string, v types.ServiceVolumeConfig) {
	for _, o := range []struct {
		key string
		set bool
	}{
		// On a named volume Compose keeps selinux and propagation of the short syntax.
		{api.MountBind, v.Bind != nil && v.Type != api.MountVolume},
		{api.MountVolume, v.Volume != nil},
		{api.MountTmpfs, v.Tmpfs != nil},
		{api.MountImage, v.Image != nil},
	} {
		if o.set && v.Type != o.key {
			m.found.warnf(place+"."+o.key, "has no effect on a mount of type %s", v.Type)
		}
	}
}

func (m *mapper) bind(place string, v types.ServiceVolumeConfig, out *api.Mount) bool {
	out.CreateHostPath = v.Bind == nil || bool(v.Bind.CreateHostPath)
	if v.Bind != nil {
		out.Recursive = v.Bind.Recursive
		out.Long = !out.CreateHostPath || v.Bind.Propagation != "" || v.Bind.Recursive != ""
	}
	return m.source(place, v.Source, out)
}

// source decides where a bind comes from: an absolute path is the host's; a relative one
// is a file of the repository, or else one of the host, seen from the stack's working
// directory there.
func (m *mapper) source(place, source string, out *api.Mount) bool {
	written, home := m.fromHome(source)
	switch {
	case source == "":
		m.found.errorf(place, "a bind needs a source")
		return false
	case home:
		m.found.errorf(place, "%s: a home directory means nothing on a node; write the absolute path", written)
		return false
	case filepath.IsAbs(source):
		out.Source = source
		return true
	}
	clean, err := inside(source)
	if err != nil && m.req.WorkingDirectory != "" {
		out.Source = m.hostPath(source)
		return true
	}
	if err != nil {
		m.found.errorf(place, "%v: write an absolute host path, or set workingDirectory in stack.yaml", err)
		return false
	}
	digest, err := m.digest(clean)
	if err == nil {
		out.Source, out.Repo = "", &api.RepoSource{Path: clean, Digest: digest}
		if !out.ReadOnly {
			m.found.warnf(place, "%s is a file of the repository and writable: what a container writes there is lost with the next change of it; add :ro", clean)
		}
		return true
	}
	return m.hostSource(place, clean, err, out)
}

func (m *mapper) hostSource(place, clean string, err error, out *api.Mount) bool {
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		m.found.errorf(place, "%v", err)
	case m.req.WorkingDirectory == "":
		m.found.errorf(place, "%s is not in the repository: commit it, or set workingDirectory in stack.yaml; a host folder needs an absolute path in `volumes`", clean)
	default:
		out.Source = m.hostPath(clean)
		return true
	}
	return false
}

// hostPath is where a relative bind that the repository can't have starts on the host. It
// may lie above the working directory, as an absolute path may lie anywhere.
func (m *mapper) hostPath(source string) string {
	return path.Join(m.req.WorkingDirectory, below(m.dir, source))
}

func (m *mapper) digest(clean string) (string, error) {
	if known, ok := m.digests[clean]; ok {
		return known, nil
	}
	digest, err := m.repo.digest(m.ctx, clean)
	if err == nil {
		m.digests[clean] = digest
	}
	return digest, err
}

func (m *mapper) volumeMount(place string, v types.ServiceVolumeConfig, out *api.Mount) bool {
	if v.Volume != nil {
		out.NoCopy, out.Subpath, out.VolumeLabels = v.Volume.NoCopy, v.Volume.Subpath, texts(v.Volume.Labels)
	}
	out.Long = v.Source == "" || out.NoCopy || out.Subpath != "" || out.VolumeLabels != nil
	if v.Source == "" {
		return true
	}
	volume, ok := m.model.Volumes[v.Source]
	if !ok {
		m.found.errorf(place, "volume %q is not defined; a bind starts with ./ or /", v.Source)
		return false
	}
	out.Source = volume.Name
	return true
}

// volumes maps the named volumes that enabled services use.
func (m *mapper) volumes() []api.VolumeSpec {
	var out []api.VolumeSpec
	keys := m.used(func(s types.ServiceConfig) []string {
		var keys []string
		for _, v := range s.Volumes {
			if v.Type == api.MountVolume && v.Source != "" {
				keys = append(keys, v.Source)
			}
		}
		return keys
	})
	for _, key := range keys {
		if config, ok := m.model.Volumes[key]; ok {
			out = append(out, m.volume(key, config))
		}
	}
	return out
}

func (m *mapper) volume(key string, config types.VolumeConfig) api.VolumeSpec {
	place := "volumes." + key
	m.plainName(place+".name", config.Name)
	spec := api.VolumeSpec{Key: key, Name: config.Name, External: bool(config.External)}
	if config.External {
		if config.Driver != "" || len(config.DriverOpts) > 0 || len(config.Labels) > 0 {
			m.found.warnf(place, onlyNamed)
		}
		return spec
	}
	spec.Driver, spec.DriverOpts, spec.Labels = config.Driver, texts(config.DriverOpts), texts(config.Labels)
	device, relative := config.DriverOpts["device"], config.Driver == "local" && config.DriverOpts["o"] == "bind"
	if relative && device != "" && !filepath.IsAbs(device) {
		m.found.errorf(place+".driver_opts.device", "%s is relative: a volume needs an absolute host path", device)
	}
	return spec
}

// plainName refuses secrets in names: a plan must know them.
func (m *mapper) plainName(place, name string) {
	if len(api.References(name)) > 0 {
		m.found.errorf(place, "must not hold a secret reference")
	}
	if strings.TrimSpace(name) == "" {
		m.found.errorf(place, "must not be empty")
	}
}
