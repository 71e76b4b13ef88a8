package enginetest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// container is the engine's record of one container.
type container struct {
	id, name string
	created  time.Time
	// spec is what is read back, mounts are as they were asked for.
	spec   api.ContainerSpec
	mounts []api.Mount
	image  *localImage

	running, restarting, paused bool
	pid, exitCode, restarts     int
	oom                         bool
	errText                     string
	started, finished           time.Time
	// manual says that somebody asked for the end: restart policies respect that.
	manual bool
	// delay is the last wait before a restart by policy.
	delay time.Duration

	program Program
	// gen counts starts and ends: what was planned for an earlier one is void.
	gen    int
	exited chan struct{} // closed at the end of the present process
	onExit []func()

	health    api.Health
	healthLog string
	failing   int

	endpoints map[string]*endpoint // by network name
	anonymous map[string]string
	ports     []string // host ports held while running
	files     map[string]string
	logs      []string

	// thawed is set while inspections hang.
	thawed chan struct{}
}

// state is the engine's word for what the container does.
func (c *container) state() api.ContainerState {
	switch {
	case c.restarting:
		return api.StateRestarting
	case c.paused:
		return api.StatePaused
	case c.running:
		return api.StateRunning
	case c.started.IsZero():
		return api.StateCreated
	default:
		return api.StateExited
	}
}

func (f *Fake) setStopped(c *container, code int) {
	c.running, c.restarting, c.paused = false, false, false
	c.pid, c.exitCode = 0, code
	c.finished = f.now()
}

// Create makes a container, and the named volumes that it mounts and that are missing.
func (f *Fake) Create(ctx context.Context, r engine.CreateRequest) (id string, err error) {
	err = f.call(ctx, request{"Create", r.Name, "create container"}, func() error {
		id, err = f.create(r)
		return err
	})
	return id, err
}

func (f *Fake) create(r engine.CreateRequest) (string, error) {
	img, err := f.imageFor(r.Spec.Image)
	if err != nil {
		return "", err
	}
	if other := f.named(r.Name); other != nil {
		return "", nameConflict(r.Name, other)
	}
	for _, m := range r.Spec.Mounts {
		if m.Type == api.MountBind && m.Long && !m.CreateHostPath && f.missing[m.Source] {
			return "", refuseFor(engine.ErrInvalid, api.Waiting, api.ReasonMountMissing,
				`invalid mount config for type "bind": bind source path does not exist: `+m.Source)
		}
	}
	c := &container{
		id: f.id("container", r.Name), name: r.Name, created: f.now(), image: img, mounts: r.Spec.Mounts,
		endpoints: map[string]*endpoint{}, anonymous: map[string]string{}, files: map[string]string{},
		exited: make(chan struct{}),
	}
	close(c.exited)
	c.spec = readBack(r, img)
	// Docker looks for the first network at the start only; the client connects the others.
	for _, ep := range r.Spec.Endpoints[min(1, len(r.Spec.Endpoints)):] {
		if f.networkNamed(ep.Network) == nil {
			return "", refuse(engine.ErrNotFound, "network %s not found", ep.Network)
		}
	}
	c.joinAll(r.Spec)
	f.mountAll(c, r)
	f.containers[c.id] = c
	f.emitContainer(c, "create")
	return c.id, nil
}

func nameConflict(name string, holder *container) error {
	return refuseFor(engine.ErrConflict, api.Waiting, api.ReasonNameConflict, "name "+name+" is in use by container "+holder.id)
}

// Rename gives a container another name.
func (f *Fake) Rename(ctx context.Context, id, name string) error {
	return f.call(ctx, request{"Rename", id, "rename container"}, func() error { return f.rename(id, name) })
}

func (f *Fake) rename(id, name string) error {
	c, err := f.find(id)
	if err != nil {
		return err
	}
	switch other := f.named(name); other {
	case nil:
	case c:
		return nil
	default:
		return nameConflict(name, other)
	}
	c.name = name
	f.emitContainer(c, "rename")
	return nil
}

// Update changes limits and restart policy in place.
func (f *Fake) Update(ctx context.Context, r engine.UpdateRequest) error {
	return f.call(ctx, request{"Update", r.ID, "update container"}, func() error {
		c, err := f.find(r.ID)
		if err != nil {
			return err
		}
		c.spec.Restart = r.Restart
		c.spec.Restart.Name = fallback(r.Restart.Name, "no")
		updateLimits(&c.spec.Resources, r.Resources)
		f.emitContainer(c, "update")
		return nil
	})
}

// updateLimits takes over what is set: the engine has no word for "no limit" here.
func updateLimits(have *api.Resources, want api.Resources) {
	for _, limit := range []struct{ have, want *int64 }{
		{&have.NanoCPUs, &want.NanoCPUs},
		{&have.CPUShares, &want.CPUShares},
		{&have.CPUPeriod, &want.CPUPeriod},
		{&have.CPUQuota, &want.CPUQuota},
		{&have.Memory, &want.Memory},
		{&have.MemoryReservation, &want.MemoryReservation},
		{&have.MemorySwap, &want.MemorySwap},
	} {
		if *limit.want != 0 {
			*limit.have = *limit.want
		}
	}
	if want.CpusetCpus != "" {
		have.CpusetCpus = want.CpusetCpus
	}
	if want.PidsLimit != nil {
		have.PidsLimit = want.PidsLimit
	}
}

// Remove kills and removes a container, never its volumes. One that is gone is fine.
func (f *Fake) Remove(ctx context.Context, id string) error {
	req := request{"Remove", id, "remove container"}
	if err := f.enter(ctx, req); err != nil {
		return err
	}
	if err := f.awaitThaw(ctx, req, id); err != nil {
		return err
	}
	f.mu.Lock()
	f.remove(id)
	f.mu.Unlock()
	return f.leave(req, nil)
}

func (f *Fake) remove(id string) {
	c, err := f.find(id)
	if err != nil {
		return
	}
	c.manual = true
	if c.running && !c.restarting {
		f.emitContainer(c, "kill", "signal", "9")
		f.exit(c, 137)
	}
	c.gen++
	delete(f.containers, c.id)
	f.emitContainer(c, "destroy")
}

// find looks a container up by id or name. f.mu is held.
func (f *Fake) find(object string) (*container, error) {
	if c := f.containers[object]; c != nil {
		return c, nil
	}
	if c := f.named(object); c != nil {
		return c, nil
	}
	return nil, refuse(engine.ErrNotFound, "No such container: %s", object)
}

func (f *Fake) named(name string) *container {
	for _, c := range f.containers {
		if c.name == name {
			return c
		}
	}
	return nil
}

// sorted returns all containers in the order of their creation.
func (f *Fake) sorted() []*container {
	return slices.SortedFunc(maps.Values(f.containers), func(a, b *container) int {
		if c := a.created.Compare(b.created); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
}

// emitContainer sends an event of a container with attributes in pairs.
func (f *Fake) emitContainer(c *container, action string, pairs ...string) {
	attributes := maps.Clone(c.spec.Labels)
	if attributes == nil {
		attributes = map[string]string{}
	}
	attributes["name"], attributes["image"] = c.name, c.spec.Image
	for i := 0; i+1 < len(pairs); i += 2 {
		attributes[pairs[i]] = pairs[i+1]
	}
	f.emit(engine.Event{Type: "container", Action: action, ID: c.id, Attributes: attributes})
}
