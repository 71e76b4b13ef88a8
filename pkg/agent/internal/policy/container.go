package policy

import (
	"path"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// mounts checks what a container has of the host's file systems and of other containers.
func (c *check) mounts(spec *api.ContainerSpec) {
	c.hostPaths(spec)
	for _, m := range spec.Mounts {
		if m.Type == api.MountCluster {
			c.listed(ruleVolumes, "volumes", api.MountCluster)
		}
	}
	if driver := spec.VolumeDriver; driver != "" && driver != "local" {
		c.listed(ruleVolumes, "volume_driver", driver)
	}
	for _, from := range spec.VolumesFrom {
		if name, ok := strings.CutPrefix(from, "container:"); ok {
			name, _, _ = strings.Cut(name, ":")
			c.listed(ruleContainers, "volumes_from", name)
		}
	}
}

func (c *check) hostPaths(spec *api.ContainerSpec) {
	for _, m := range spec.Mounts {
		// What comes out of the repository is content of the desired state.
		// A volume whose name is a path would reach the engine as a bind of it.
		disguised := m.Type == api.MountVolume && strings.ContainsAny(m.Source, `/\:`)
		if m.Repo != nil || m.Type != api.MountBind && m.Type != api.MountNamedPipe && !disguised {
			continue
		}
		use := writes
		// Relabelling writes to the host's files, and mounts below a bind may be writable
		// although the bind is not.
		if m.ReadOnly && m.SELinux == "" && m.Recursive != "writable" {
			use = reads
		}
		c.path(bind{field: "volumes", path: m.Source, access: use})
	}
}

// namespaces checks what a container shares with the host or with a container that is not
// of its stack.
func (c *check) namespaces(spec *api.ContainerSpec) {
	for _, n := range []struct{ field, mode, namespace string }{
		{"network_mode", spec.NetworkMode, "network"},
		{"pid", spec.PidMode, "pid"},
		{"ipc", spec.IpcMode, "ipc"},
		{"uts", spec.UTSMode, "uts"},
		{"userns_mode", spec.UsernsMode, "userns"},
		{"cgroup", spec.CgroupnsMode, "cgroup"},
	} {
		name, other := strings.CutPrefix(n.mode, "container:")
		switch {
		case n.mode == "host":
			c.listed(ruleNamespaces, n.field, n.namespace)
		case other:
			c.listed(ruleContainers, n.field, name)
		}
	}
	for _, link := range spec.ExternalLinks {
		name, _, _ := strings.Cut(link, ":")
		c.listed(ruleContainers, "external_links", name)
	}
}

func (c *check) privileges(spec *api.ContainerSpec) {
	if spec.Privileged {
		c.allowed(rulePrivileged, "privileged", "true")
	}
	for _, name := range spec.CapAdd {
		c.listed(ruleCapabilities, "cap_add", capability(name))
	}
	for _, opt := range spec.SecurityOpt {
		if opt = securityOpt(opt); opt != "no-new-privileges" && opt != "no-new-privileges=true" && opt != "no-new-privileges=false" {
			c.listed(ruleSecurityOpt, "security_opt", opt)
		}
	}
	if spec.UnmaskedPaths {
		c.listed(ruleSecurityOpt, "security_opt", "systempaths=unconfined")
	}
	if spec.Runtime != "" {
		c.listed(ruleRuntimes, "runtime", spec.Runtime)
	}
	for key := range spec.Annotations {
		c.listed(ruleAnnotations, "annotations", key)
	}
	if l := spec.Logging; l != nil && !slices.Contains([]string{"", "json-file", "local", "journald", "none"}, l.Driver) {
		c.listed(ruleLogs, "logging.driver", l.Driver)
	}
}

func (c *check) resources(r *api.Resources) {
	if r.CgroupParent != "" {
		c.listed(ruleCgroupParents, "cgroup_parent", r.CgroupParent)
	}
	for _, d := range r.Devices {
		source := d.Source
		if path.IsAbs(source) {
			source = path.Clean(source)
		}
		c.listed(ruleDevices, "devices", source)
	}
	for _, rule := range r.DeviceCgroupRules {
		c.listed(ruleDevices, "device_cgroup_rules", rule)
	}
	for _, d := range r.DeviceRequests {
		for _, name := range requested(d) {
			c.listed(ruleDevices, "deploy.resources.reservations.devices", name)
		}
	}
}

// requested names what a request to a device driver asks for: a driver, or the devices of
// the container device interface, whose names say who defined them.
func requested(d api.DeviceRequest) []string {
	names := slices.Concat(d.Capabilities...)
	if d.Driver == "cdi" {
		names = d.DeviceIDs
	} else if d.Driver != "" {
		names = []string{d.Driver}
	}
	if len(names) == 0 {
		return []string{"any"}
	}
	return names
}

// capability is a name as the kernel's documentation has it, without CAP_.
func capability(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }

// securityOpt is an option with "=": engines take ":" as well.
func securityOpt(opt string) string {
	at := strings.IndexAny(opt, "=:")
	if at < 0 {
		return opt
	}
	return opt[:at] + "=" + opt[at+1:]
}
