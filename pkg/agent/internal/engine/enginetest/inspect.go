package enginetest

import (
	"context"
	"maps"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// List returns everything that the engine holds. Frozen containers are waited for, and
// then described by what the list knows.
func (f *Fake) List(ctx context.Context) (engine.List, error) {
	req := request{"List", "", "list containers"}
	if err := f.enter(ctx, req); err != nil {
		return engine.List{}, err
	}
	f.mu.Lock()
	list := f.list()
	frozen := map[string]bool{}
	for _, c := range f.containers {
		if c.thawed != nil {
			frozen[c.id] = true
		}
	}
	f.mu.Unlock()
	if len(frozen) > 0 {
		sleep(ctx, f.ListPatience)
		if ctx.Err() != nil {
			return engine.List{}, f.ended(ctx, req)
		}
	}
	for i, c := range list.Containers {
		if frozen[c.ID] {
			list.Containers[i] = &api.Container{
				ID: c.ID, Name: c.Name, Created: c.Created.Truncate(time.Second), Labels: c.Labels,
				Image: c.Image, ImageID: c.ImageID, State: c.State,
				Facts: api.ContainerFacts{WritableBytes: -1, Unresponsive: true},
			}
		}
	}
	return list, f.leave(req, nil)
}

// Truth is what List would say, without faults, hooks and counters.
func (f *Fake) Truth() engine.List {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list()
}

func (f *Fake) list() engine.List {
	var list engine.List
	for _, c := range f.sorted() {
		list.Containers = append(list.Containers, f.view(c))
	}
	for _, id := range slices.Sorted(maps.Keys(f.networks)) {
		list.Networks = append(list.Networks, f.networks[id].view())
	}
	for _, c := range list.Containers {
		engine.ResolveNetworks(c, slices.Values(list.Networks))
	}
	for _, name := range slices.Sorted(maps.Keys(f.volumes)) {
		v := *f.volumes[name]
		list.Volumes = append(list.Volumes, &v)
	}
	return list
}

// InspectContainer reads one container.
func (f *Fake) InspectContainer(ctx context.Context, id string) (*api.Container, error) {
	req := request{"InspectContainer", id, "inspect container"}
	if err := f.enter(ctx, req); err != nil {
		return nil, err
	}
	if err := f.awaitThaw(ctx, req, id); err != nil {
		return nil, err
	}
	f.mu.Lock()
	var view *api.Container
	c, err := f.find(id)
	if err == nil {
		view = f.view(c)
	}
	f.mu.Unlock()
	if err := f.leave(req, err); err != nil {
		return nil, err
	}
	return view, nil
}

// MeasureContainer tells the size of the files in the writable layer, in bytes.
func (f *Fake) MeasureContainer(ctx context.Context, id string) (int64, error) {
	size := int64(-1)
	err := f.call(ctx, request{"MeasureContainer", id, "measure container"}, func() error {
		c, err := f.find(id)
		if err != nil {
			return err
		}
		size = 0
		for _, content := range c.files {
			size += int64(len(content))
		}
		return nil
	})
	return size, err
}

// InspectNetwork reads one network.
func (f *Fake) InspectNetwork(ctx context.Context, id string) (view *api.Network, err error) {
	err = f.call(ctx, request{"InspectNetwork", id, "inspect network"}, func() error {
		n := f.findNetwork(id)
		if n == nil {
			return refuse(engine.ErrNotFound, "network %s not found", id)
		}
		view = n.view()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return view, nil
}

// InspectVolume reads one volume.
func (f *Fake) InspectVolume(ctx context.Context, name string) (view *api.Volume, err error) {
	err = f.call(ctx, request{"InspectVolume", name, "inspect volume"}, func() error {
		v := f.volumes[name]
		if v == nil {
			return refuse(engine.ErrNotFound, "get %s: no such volume", name)
		}
		known := *v
		view = &known
		return nil
	})
	if err != nil {
		return nil, err
	}
	return view, nil
}

func (n *network) view() *api.Network {
	return &api.Network{ID: n.id, Name: n.spec.Name, Driver: n.spec.Driver, Labels: maps.Clone(n.spec.Labels), Spec: n.spec}
}

// view is what an inspection says. f.mu is held.
func (f *Fake) view(c *container) *api.Container {
	view := &api.Container{
		ID: c.id, Name: c.name, Created: c.created, Labels: maps.Clone(c.spec.Labels),
		Image: c.spec.Image, ImageID: c.image.ID,
		State: c.state(), ExitCode: c.exitCode, OOMKilled: c.oom, Error: c.errText, Pid: c.pid,
		StartedAt: c.started, FinishedAt: c.finished, Restarts: c.restarts,
		Health: c.health, HealthLog: c.healthLog, Spec: c.spec,
		Attached: map[string]api.Attachment{},
		Facts:    api.ContainerFacts{WritableBytes: -1},
	}
	view.Spec.Endpoints = slices.Clone(c.spec.Endpoints)
	if len(c.anonymous) > 0 {
		view.AnonymousVolumes = maps.Clone(c.anonymous)
	}
	for name, ep := range c.endpoints {
		id := ep.netID
		if id == "" {
			id = name
		}
		view.Attached[id] = api.Attachment{
			Name: name, Aliases: ep.config.Aliases, IPv4: ep.config.IPv4Address, IPv6: ep.config.IPv6Address,
			Address: ep.address, Mac: ep.config.MacAddress,
		}
	}
	return view
}

// readBack is the spec of a container as an inspection shows it: with the image's
// defaults and all labels, without what is sent once (files, platform).
func readBack(r engine.CreateRequest, img *localImage) api.ContainerSpec {
	spec := plan.Effective(r.Spec, &img.Image)
	spec.Labels = union(union(img.Config.Labels, r.Spec.Labels), r.Labels)
	if r.Spec.StopGrace != nil {
		// Engines count in seconds.
		grace := (*r.Spec.StopGrace + time.Second - 1).Truncate(time.Second)
		spec.StopGrace = &grace
	}
	spec.Files, spec.Platform = nil, ""
	return spec
}
