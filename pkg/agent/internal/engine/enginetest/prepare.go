package enginetest

import (
	"fmt"
	"strings"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// prepare gets everything that a start needs, or says what is missing.
func (f *Fake) prepare(c *container) error {
	if parent, ok := strings.CutPrefix(c.spec.NetworkMode, "container:"); ok {
		p, err := f.find(parent)
		if err != nil {
			return err
		}
		if !p.live() {
			return refuse(engine.ErrConflict, "cannot join network of a non running container: %s", p.id)
		}
	}
	for _, name := range c.networkNames() {
		ep := c.endpoints[name]
		// A network that was recreated under the same name is another one, except before
		// the first start.
		n := f.networks[ep.netID]
		if ep.netID == "" {
			n = f.networkNamed(name)
		}
		if n == nil {
			return refuse(engine.ErrNotFound, "network %s not found", fallback(ep.netID, name))
		}
		if err := f.attach(n, ep); err != nil {
			return err
		}
	}
	if err := f.takePorts(c); err != nil {
		return err
	}
	for _, m := range c.mounts {
		if m.Type == api.MountBind && m.Long && !m.CreateHostPath && f.missing[m.Source] {
			return refuse(nil, "error mounting %q: stat %s: no such file or directory", m.Source, m.Source)
		}
	}
	return nil
}

func fallback(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// release gives back what prepare took.
func (f *Fake) release(c *container) {
	c.ports = nil
	for _, ep := range c.endpoints {
		ep.address = ""
	}
}

// takePorts claims the host ports of c; conflicts show at the start only, as in Docker.
func (f *Fake) takePorts(c *container) error {
	held := map[string]bool{}
	for _, other := range f.containers {
		for _, port := range other.ports {
			held[port] = true
		}
	}
	c.ports = nil
	for _, p := range c.spec.Ports {
		protocol := fallback(p.Protocol, "tcp")
		first, last, ranged := strings.Cut(p.Published, "-")
		if !ranged {
			last = first
		}
		if p.Published == "" {
			continue
		}
		port := ""
		for n := number([]string{first}, 0); n <= number([]string{last}, 0); n++ {
			candidate := fmt.Sprintf("%d/%s", n, protocol)
			if !held[candidate] && !f.busyPorts[candidate] {
				port = candidate
				break
			}
		}
		if port == "" {
			return refuseFor(engine.ErrConflict, api.Waiting, api.ReasonPortConflict,
				"driver failed programming external connectivity on endpoint "+c.name+": Bind for 0.0.0.0:"+p.Published+" failed: port is already allocated")
		}
		held[port] = true
		c.ports = append(c.ports, port)
	}
	return nil
}
