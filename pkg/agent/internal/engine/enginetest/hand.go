package enginetest

import (
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// Hand is a person at the engine's command line: the same effects and events, without
// hooks, counters and faults. Containers are named by name or id. It does not wait.
type Hand struct{ f *Fake }

// Hand returns the person's view of the engine.
func (f *Fake) Hand() Hand { return Hand{f} }

// Run creates and starts a container, which may be foreign in every respect.
func (h Hand) Run(r engine.CreateRequest) (string, error) {
	id, err := h.Create(r)
	if err != nil {
		return "", err
	}
	return id, h.Start(id)
}

// Create makes a container.
func (h Hand) Create(r engine.CreateRequest) (id string, err error) {
	err = h.do(func() error {
		id, err = h.f.create(r)
		return err
	})
	return id, err
}

// Start is `docker start`.
func (h Hand) Start(object string) error {
	return h.do(func() error { return h.f.startByHand(object) })
}

// Stop is `docker stop`; the container has ended once its grace period is over.
func (h Hand) Stop(object string, grace time.Duration) error {
	return h.do(func() error {
		_, err := h.f.stop(engine.StopRequest{ID: object, Grace: &grace})
		return err
	})
}

// Kill is `docker kill`: the engine takes the end for wanted.
func (h Hand) Kill(object string) error {
	return h.with(object, func(c *container) error {
		if !c.live() {
			return refuse(engine.ErrConflict, "Container %s is not running", object)
		}
		c.manual = true
		h.f.signal(c, "KILL")
		return nil
	})
}

// End ends the process from outside of the engine (kill -9, a crash), with an exit code.
func (h Hand) End(object string, code int) error {
	return h.with(object, func(c *container) error {
		h.f.exit(c, code)
		return nil
	})
}

// EndOOM ends the process as the kernel does when memory is short.
func (h Hand) EndOOM(object string) error {
	return h.with(object, func(c *container) error {
		h.f.emitContainer(c, "oom")
		h.f.exit(c, 137)
		c.oom = true
		return nil
	})
}

// Remove is `docker rm -f`.
func (h Hand) Remove(object string) error {
	return h.with(object, func(c *container) error {
		h.f.remove(c.id)
		return nil
	})
}

// Rename is `docker rename`.
func (h Hand) Rename(object, name string) error {
	return h.do(func() error { return h.f.rename(object, name) })
}

// Pause is `docker pause`.
func (h Hand) Pause(object string) error { return h.do(func() error { return h.f.pause(object) }) }

// Unpause is `docker unpause`.
func (h Hand) Unpause(object string) error { return h.do(func() error { return h.f.unpause(object) }) }

// Log adds a line to a container's output.
func (h Hand) Log(object, line string) error {
	return h.with(object, func(c *container) error {
		c.logs = append(c.logs, line)
		return nil
	})
}

// CreateNetwork is `docker network create`, which lets names occur twice.
func (h Hand) CreateNetwork(spec api.NetworkSpec) (id string, err error) {
	err = h.do(func() error {
		id, err = h.f.createNetwork(spec, nil)
		return err
	})
	return id, err
}

// RemoveNetwork is `docker network rm`.
func (h Hand) RemoveNetwork(object string) error {
	return h.do(func() error { return h.f.removeNetwork(object) })
}

// Connect is `docker network connect`.
func (h Hand) Connect(network, object string, aliases ...string) error {
	return h.do(func() error {
		return h.f.join(engine.ConnectRequest{NetworkID: network, ContainerID: object, Endpoint: api.Endpoint{Aliases: slices.Clone(aliases)}})
	})
}

// Disconnect is `docker network disconnect`.
func (h Hand) Disconnect(network, object string) error {
	return h.do(func() error { return h.f.part(network, object) })
}

// CreateVolume is `docker volume create`.
func (h Hand) CreateVolume(v api.Volume) error {
	v.Driver = fallback(v.Driver, "local")
	return h.do(func() error { return h.f.createVolume(&v) })
}

// RemoveVolume is `docker volume rm`.
func (h Hand) RemoveVolume(name string) error {
	return h.do(func() error { return h.f.removeVolume(name) })
}

// Tag is `docker tag`: ref resolves to what source is.
func (h Hand) Tag(source, ref string) error {
	return h.do(func() error {
		img, err := h.f.imageFor(source)
		if err != nil {
			return err
		}
		h.f.images[canonical(ref)] = img
		h.f.emit(engine.Event{Type: "image", Action: "tag", ID: img.ID, Attributes: map[string]string{"name": ref}})
		return nil
	})
}

// RemoveImage is `docker rmi` of a reference.
func (h Hand) RemoveImage(ref string) error {
	return h.do(func() error {
		img, err := h.f.imageFor(ref)
		if err != nil {
			return err
		}
		delete(h.f.images, canonical(ref))
		h.f.emit(engine.Event{Type: "image", Action: "untag", ID: img.ID, Attributes: map[string]string{"name": img.ID}})
		return nil
	})
}

func (h Hand) with(object string, do func(*container) error) error {
	return h.do(func() error {
		c, err := h.f.find(object)
		if err != nil {
			return err
		}
		return do(c)
	})
}

// do runs an effect; errors look like the client's.
func (h Hand) do(effect func() error) error {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	if err := effect(); err != nil {
		return h.f.explain(request{"Hand", "by hand", "change"}, err)
	}
	return nil
}
