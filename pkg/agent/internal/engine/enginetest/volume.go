package enginetest

import (
	"context"
	"maps"
	"slices"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// CreateVolume makes a volume; one of that name and driver is kept as it is.
func (f *Fake) CreateVolume(ctx context.Context, spec api.VolumeSpec, labels map[string]string) error {
	return f.call(ctx, request{"CreateVolume", spec.Name, "create volume"}, func() error {
		return f.createVolume(&api.Volume{
			Name: spec.Name, Driver: fallback(spec.Driver, "local"),
			Labels: union(spec.Labels, labels), Options: spec.DriverOpts,
		})
	})
}

func (f *Fake) createVolume(v *api.Volume) error {
	if old := f.volumes[v.Name]; old != nil {
		if old.Driver != v.Driver {
			return refuse(engine.ErrConflict, "a volume named %s already exists with the %s driver", v.Name, old.Driver)
		}
		return nil
	}
	f.volumes[v.Name] = v
	f.emit(engine.Event{Type: "volume", Action: "create", ID: v.Name, Attributes: map[string]string{"driver": v.Driver}})
	return nil
}

func (f *Fake) removeVolume(name string) error {
	if f.volumes[name] == nil {
		return refuse(engine.ErrNotFound, "get %s: no such volume", name)
	}
	for _, c := range f.containers {
		for _, m := range c.spec.Mounts {
			if m.Type == api.MountVolume && m.Source == name {
				return refuse(engine.ErrConflict, "remove %s: volume is in use - [%s]", name, c.id)
			}
		}
		if slices.Contains(slices.Collect(maps.Values(c.anonymous)), name) {
			return refuse(engine.ErrConflict, "remove %s: volume is in use - [%s]", name, c.id)
		}
	}
	delete(f.volumes, name)
	f.emit(engine.Event{Type: "volume", Action: "destroy", ID: name, Attributes: map[string]string{"driver": "local"}})
	return nil
}

// mountAll makes the volumes that a new container needs: named ones that are missing,
// and anonymous ones unless they are taken over.
func (f *Fake) mountAll(c *container, r engine.CreateRequest) {
	taken := map[string]bool{}
	var unnamed []string
	for _, m := range r.Spec.Mounts {
		taken[m.Target] = true
		switch {
		case m.Type != api.MountVolume:
		case m.Source == "":
			unnamed = append(unnamed, m.Target)
		default:
			// A volume of another driver is used as it is.
			_ = f.createVolume(&api.Volume{Name: m.Source, Driver: "local", Labels: m.VolumeLabels})
		}
	}
	for _, path := range c.image.Volumes {
		if _, inherited := r.InheritVolumes[path]; !taken[path] && !inherited {
			unnamed = append(unnamed, path)
		}
	}
	for path, name := range r.InheritVolumes {
		c.anonymous[path] = name
		_ = f.createVolume(&api.Volume{Name: name, Driver: "local"})
	}
	slices.Sort(unnamed)
	for _, path := range unnamed {
		if c.anonymous[path] != "" {
			continue
		}
		name := f.id("volume", c.name+path)
		c.anonymous[path] = name
		_ = f.createVolume(&api.Volume{Name: name, Driver: "local"})
	}
}

// union returns the entries of both maps; those of the second win.
func union(a, b map[string]string) map[string]string {
	if len(a)+len(b) == 0 {
		return nil
	}
	m := make(map[string]string, len(a)+len(b))
	maps.Copy(m, a)
	maps.Copy(m, b)
	return m
}
