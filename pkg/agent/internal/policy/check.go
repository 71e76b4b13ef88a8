package policy

import (
	"cmp"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// Check lists what the policy does not allow of a stack, sorted, each once. It is a pure
// function of the policy and its arguments.
func (p *Policy) Check(s *api.Stack, h Host) []Violation {
	c := &check{policy: p, host: h}
	for i := range s.Services {
		c.service(&s.Services[i])
	}
	c.references("contract", reflect.ValueOf(s.Contract))
	for _, folder := range s.AdoptFrom {
		c.listed(ruleAdopt, "adoptFrom", s.Project+":"+folder)
	}
	for i := range s.Networks {
		c.network(&s.Networks[i])
	}
	for i := range s.Volumes {
		c.volume(&s.Volumes[i])
	}
	for _, m := range s.Mounts {
		use := reads
		if m.Writable {
			use = writes
		}
		c.path(bind{field: "mounts", path: m.Path, access: use})
	}
	return c.result()
}

// CheckMounts lists what the policy does not allow of the host paths of one container, and
// of the volumes of its stack.
func (p *Policy) CheckMounts(service string, spec *api.ContainerSpec, volumes []api.VolumeSpec, h Host) []Violation {
	c := &check{policy: p, host: h}
	for i := range volumes {
		c.volume(&volumes[i])
	}
	c.name = service
	c.hostPaths(spec)
	return c.result()
}

// Paths are the host paths of a stack, whose links Check has to know, sorted.
func Paths(s *api.Stack) []string {
	paths := MountPaths(&api.ContainerSpec{}, s.Volumes)
	for i := range s.Services {
		for j := range s.Services[i].Replicas {
			paths = append(paths, MountPaths(&s.Services[i].Replicas[j].Spec, nil)...)
		}
	}
	for _, m := range s.Mounts {
		paths = append(paths, path.Clean(m.Path))
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// MountPaths are the host paths of one container and of the volumes of its stack, whose
// links CheckMounts has to know, sorted.
func MountPaths(spec *api.ContainerSpec, volumes []api.VolumeSpec) []string {
	var paths []string
	c := &check{policy: &Policy{}, seen: func(name string) { paths = append(paths, name) }}
	for i := range volumes {
		c.volume(&volumes[i])
	}
	c.hostPaths(spec)
	slices.Sort(paths)
	return slices.Compact(paths)
}

// check collects the violations of one stack.
type check struct {
	policy *Policy
	host   Host
	// name is the service that is looked at, empty for the stack itself.
	name  string
	found []Violation
	// seen is told of every host path, where it is set.
	seen func(path string)
}

// at is a field of the service that is looked at, as the Compose file has it.
func (c *check) at(field string) string {
	if c.name == "" {
		return field
	}
	return "services." + c.name + "." + field
}

func (c *check) add(rule, field, value, fix string) {
	c.found = append(c.found, Violation{Rule: rule, Service: c.name, Field: c.at(field), Value: shown(value), Fix: fix})
}

// listed checks a text against a list of the policy.
func (c *check) listed(rule, field, text string) {
	if !c.policy.allows(rule, text) {
		c.add(rule, field, text, item(rule, text))
	}
}

// allowed checks a switch of the policy.
func (c *check) allowed(rule, field, value string) {
	if !c.policy.flags[rule] {
		c.add(rule, field, value, flag(rule))
	}
}

func (c *check) result() []Violation {
	slices.SortFunc(c.found, func(a, b Violation) int {
		return cmp.Or(
			strings.Compare(a.Service, b.Service), strings.Compare(a.Field, b.Field), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Value, b.Value),
		)
	})
	return slices.Compact(c.found)
}

func (c *check) service(s *api.Service) {
	c.name = s.Name
	defer func() { c.name = "" }()
	for i := range s.Replicas {
		spec := &s.Replicas[i].Spec
		c.images(spec)
		c.mounts(spec)
		c.namespaces(spec)
		c.privileges(spec)
		c.resources(&spec.Resources)
		c.references("", reflect.ValueOf(*spec))
		c.decided(reflect.ValueOf(*spec))
	}
	c.hooks("post_start", s.PostStart)
	c.hooks("pre_stop", s.PreStop)
	c.references("probe", reflect.ValueOf(s.Probe))
}

func (c *check) hooks(field string, hooks []api.Hook) {
	for _, h := range hooks {
		if h.Privileged {
			c.allowed(rulePrivileged, field+".privileged", "true")
		}
	}
	c.references(field, reflect.ValueOf(hooks))
}

// images checks the image, its registry and the login that is sent there.
func (c *check) images(spec *api.ContainerSpec) {
	c.image("image", spec.Image)
	for _, m := range spec.Mounts {
		if m.Type == api.MountImage {
			c.image("volumes", m.Source)
		}
	}
}

func (c *check) image(field, ref string) {
	img, ok := parseImage(ref)
	if !ok {
		c.add(ruleImages, field, ref, "a name with its registry instead of an id")
		return
	}
	if !slices.ContainsFunc(c.policy.images, func(r imageRule) bool { return r.matches(img) }) {
		c.add(ruleImages, field, ref, item(ruleImages, img.name))
	}
	if !c.policy.AllowsRegistry(img.host) {
		c.add(ruleRegistries, field, img.host, item(ruleRegistries, img.host))
		return
	}
	for _, r := range c.host.Registries {
		if strings.EqualFold(r.Host, img.host) {
			c.references(field+" (login of registry "+r.Host+")", reflect.ValueOf([]string{r.Username, r.Password}))
		}
	}
}

// network: the drivers of the engine that keep containers behind the host are harmless.
func (c *check) network(n *api.NetworkSpec) {
	if !n.External && !slices.Contains([]string{"", "bridge", "default", "none"}, n.Driver) {
		c.listed(ruleNetworks, "networks."+n.Key+".driver", n.Driver)
	}
	c.references("networks."+n.Key, reflect.ValueOf(*n))
	c.literal("networks."+n.Key, reflect.ValueOf(*n))
}

// volume: the local driver mounts whatever it is told to, so its options count as what
// they do: a bind, or a file system of a kind.
func (c *check) volume(v *api.VolumeSpec) {
	field := "volumes." + v.Key
	c.references(field, reflect.ValueOf(*v))
	c.literal(field, reflect.ValueOf(*v))
	options := strings.Split(v.DriverOpts["o"], ",")
	device, kind := v.DriverOpts["device"], strings.ToLower(v.DriverOpts["type"])
	switch {
	case v.External:
	case v.Driver != "" && v.Driver != "local":
		c.listed(ruleVolumes, field+".driver", v.Driver)
	case slices.Contains(options, "bind") || slices.Contains(options, "rbind"):
		use := writes
		if slices.Contains(options, "ro") {
			use = reads
		}
		c.path(bind{field: field + ".driver_opts.device", path: device, access: use})
	case kind == "tmpfs":
	case len(v.DriverOpts["o"]) > 0 || device != "" || kind != "":
		c.listed(ruleVolumes, field+".driver_opts", "local/"+cmp.Or(kind, "none"))
	}
}

// bind is the use of one path of the host.
type bind struct {
	field, path string
	access      access
}

// path checks a path as it is written and where it leads.
func (c *check) path(b bind) {
	written := path.Clean(b.path)
	if c.seen != nil && path.IsAbs(written) {
		c.seen(written)
	}
	if !path.IsAbs(b.path) || slices.Contains(strings.Split(b.path, "/"), "..") {
		c.add(ruleHostPaths, b.field, b.path, "an absolute path without ..")
		return
	}
	target := cmp.Or(c.host.Links[written], written)
	guarded := c.guarded(b, written, target)
	for _, name := range []string{written, target} {
		if slices.Contains(guarded, name) || c.policy.allowsPath(name, b.access) {
			continue
		}
		value := fmt.Sprintf("%s (%s)", written, b.access)
		if name != written {
			value = fmt.Sprintf("%s (a link to %s, %s)", written, name, b.access)
		}
		c.add(ruleHostPaths, b.field, value, fmt.Sprintf("`- {path: %s, writable: %t}` under %s", quoted(name), b.access == writes, ruleHostPaths))
	}
}

// guarded checks whether a path reaches what gives the node away, and returns the sockets
// and files that it names: the switch alone allows those.
func (c *check) guarded(b bind, names ...string) []string {
	var named []string
	for _, guarded := range c.host.Guarded {
		for _, name := range names {
			if !overlaps(name, guarded) {
				continue
			}
			c.allowed(ruleDockerSocket, b.field, name+" (the engine's socket or the agent's own files)")
			if name == guarded {
				named = append(named, name)
			}
		}
	}
	return named
}
