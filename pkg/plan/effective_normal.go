package plan

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// engineGrace is the engine's own stop_grace_period.
const engineGrace = 10 * time.Second

// normal spells a spec in one way: what means the same to an engine is equal after it.
// It is idempotent and changes nothing of its argument.
func normal(spec api.ContainerSpec) api.ContainerSpec {
	if slices.Equal(spec.Entrypoint, []string{""}) {
		spec.Entrypoint = nil
	}
	spec.Env = slices.DeleteFunc(mergeEnv(nil, spec.Env), func(entry string) bool { return !strings.Contains(entry, "=") })
	spec.Labels = ownLabels(spec.Labels)
	if spec.WorkingDir != "" {
		spec.WorkingDir = path.Clean(spec.WorkingDir)
	}
	if spec.WorkingDir == "/" {
		spec.WorkingDir = ""
	}
	spec.StopSignal = normalSignal(spec.StopSignal)
	if spec.StopGrace != nil && *spec.StopGrace == engineGrace {
		spec.StopGrace = nil
	}
	spec.Healthcheck = normalHealthcheck(spec.Healthcheck)
	spec.Expose = normalExpose(spec.Expose)
	spec.Ports = normalPorts(spec.Ports)
	spec.Restart = normalRestart(spec.Restart)
	normalNetworking(&spec)
	normalHost(&spec)
	spec.Mounts = normalMounts(spec.Mounts)
	spec.Resources = normalResources(spec.Resources)
	return spec
}

func normalRestart(policy api.RestartPolicy) api.RestartPolicy {
	policy.Name = cmp.Or(policy.Name, "no")
	if policy.Name != "on-failure" {
		policy.MaxRetries = 0
	}
	return policy
}

// ownLabels leaves out what tools write for themselves.
func ownLabels(labels map[string]string) map[string]string {
	own := maps.Clone(labels)
	maps.DeleteFunc(own, func(key, _ string) bool {
		return strings.HasPrefix(key, "com.docker.compose.") || strings.HasPrefix(key, "io.ktrdr.") ||
			strings.HasPrefix(key, "desktop.docker.io")
	})
	return own
}

func normalSignal(signal string) string {
	signal = strings.TrimPrefix(strings.ToUpper(signal), "SIG")
	if signal == "TERM" || signal == "15" {
		return ""
	}
	return signal
}

func normalHealthcheck(check *api.Healthcheck) *api.Healthcheck {
	switch {
	case check == nil:
		return nil
	case len(check.Test) > 0 && check.Test[0] == "NONE":
		return &api.Healthcheck{Test: []string{"NONE"}}
	case len(check.Test) == 0:
		// Without a test there is no healthcheck, whatever its intervals.
		return nil
	}
	return check
}

func exposed(port api.Port) string {
	return fmt.Sprintf("%d/%s", port.Target, cmp.Or(strings.ToLower(port.Protocol), "tcp"))
}

// normalExpose expands ranges: "80-82/tcp" is three ports.
func normalExpose(ports []string) []string {
	var all []string
	for _, text := range ports {
		numbers, protocol, _ := strings.Cut(strings.ToLower(text), "/")
		first, last, isRange := strings.Cut(numbers, "-")
		if !isRange {
			last = first
		}
		from, fromErr := strconv.ParseUint(first, 10, 16)
		to, toErr := strconv.ParseUint(last, 10, 16)
		if fromErr != nil || toErr != nil {
			all = append(all, text)
			continue
		}
		for n := from; n <= to; n++ {
			all = append(all, fmt.Sprintf("%d/%s", n, cmp.Or(protocol, "tcp")))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func normalPorts(ports []api.Port) []api.Port {
	all := slices.Clone(ports)
	for i, port := range all {
		all[i].Protocol = cmp.Or(strings.ToLower(port.Protocol), "tcp")
		first, last, isRange := strings.Cut(port.Published, "-")
		if isRange && first == last {
			all[i].Published = first
		}
		if port.Published == "0" {
			all[i].Published = ""
		}
	}
	slices.SortFunc(all, func(a, b api.Port) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Protocol, b.Protocol),
			cmp.Compare(a.HostIP, b.HostIP), cmp.Compare(a.Published, b.Published))
	})
	return slices.Compact(all)
}

func normalNetworking(spec *api.ContainerSpec) {
	switch {
	case spec.NetworkMode == "default":
		spec.NetworkMode = "bridge"
	case spec.NetworkMode == "" && len(spec.Endpoints) == 0:
		spec.NetworkMode = "none"
	}
	spec.MacAddress = strings.ToLower(spec.MacAddress)
	spec.Endpoints = slices.Clone(spec.Endpoints)
	for i := range spec.Endpoints {
		endpoint := &spec.Endpoints[i]
		// Engines before 26 add the hostname as an alias by themselves; newer ones resolve it too.
		endpoint.Aliases = slices.DeleteFunc(sorted(endpoint.Aliases), func(alias string) bool { return alias == spec.Hostname })
		endpoint.LinkLocalIPs = sorted(endpoint.LinkLocalIPs)
		endpoint.MacAddress = strings.ToLower(endpoint.MacAddress)
	}
	spec.Links = sorted(slices.Concat(spec.Links, spec.ExternalLinks))
	spec.ExternalLinks = nil
	spec.ExtraHosts = slices.Clone(spec.ExtraHosts)
	for i, host := range spec.ExtraHosts {
		if equals, colon := strings.IndexByte(host, '='), strings.IndexByte(host, ':'); equals >= 0 && (colon < 0 || equals < colon) {
			spec.ExtraHosts[i] = strings.Replace(host, "=", ":", 1)
		}
	}
	spec.ExtraHosts = sorted(spec.ExtraHosts)
}

func normalHost(spec *api.ContainerSpec) {
	spec.CapAdd, spec.CapDrop = normalCapabilities(spec.CapAdd), normalCapabilities(spec.CapDrop)
	spec.GroupAdd = sorted(spec.GroupAdd)
	if spec.IpcMode == "private" || spec.IpcMode == "shareable" {
		// Which of them is the default is the engine's configuration.
		spec.IpcMode = ""
	}
	if spec.Isolation == "default" {
		spec.Isolation = ""
	}
	if spec.VolumeDriver == "local" {
		spec.VolumeDriver = ""
	}
	spec.SecurityOpt = normalSecurity(*spec)
	// A privileged container has no masked paths anyway.
	spec.UnmaskedPaths = spec.UnmaskedPaths && !spec.Privileged
	spec.Tmpfs = maps.Clone(spec.Tmpfs)
	for target, options := range spec.Tmpfs {
		parts := strings.Split(options, ",")
		slices.Sort(parts)
		spec.Tmpfs[target] = strings.Join(parts, ",")
	}
	spec.VolumesFrom = slices.Clone(spec.VolumesFrom)
	for i, entry := range spec.VolumesFrom {
		spec.VolumesFrom[i] = strings.TrimSuffix(strings.TrimPrefix(entry, "container:"), ":rw")
	}
}

func normalCapabilities(names []string) []string {
	all := slices.Clone(names)
	for i, name := range all {
		all[i] = strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	}
	return sorted(all)
}

// normalSecurity spells options as "key=value", as engines do since 1.11, and leaves out
// label=disable where the engine adds it by itself.
func normalSecurity(spec api.ContainerSpec) []string {
	var all []string
	for _, option := range spec.SecurityOpt {
		key, _, _ := strings.Cut(option, "=")
		if name, value, legacy := strings.Cut(key, ":"); legacy {
			option = name + "=" + value + strings.TrimPrefix(option, key)
		}
		if option == "no-new-privileges=true" {
			option = "no-new-privileges"
		}
		implied := spec.Privileged || spec.IpcMode == "host" || spec.PidMode == "host"
		if option != "label=disable" || !implied {
			all = append(all, option)
		}
	}
	return sorted(all)
}

// sorted returns a sorted copy without duplicates, nil when empty.
func sorted(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	all := slices.Sorted(slices.Values(words))
	return slices.Compact(all)
}

func normalMounts(mounts []api.Mount) []api.Mount {
	var all []api.Mount
	for _, m := range mounts {
		if m.Type == api.MountVolume && m.Source == "" {
			continue
		}
		m.Target = path.Clean(m.Target)
		if m.Type == api.MountBind && m.Source != "" {
			m.Source = path.Clean(m.Source)
		}
		if m.Propagation == "rprivate" {
			m.Propagation = ""
		}
		if m.Recursive == "enabled" {
			m.Recursive = ""
		}
		// How the mount was asked for leaves no trace in the container, and consistency
		// means nothing on Linux.
		m.Long, m.CreateHostPath, m.Consistency = false, false, ""
		all = append(all, m)
	}
	slices.SortStableFunc(all, func(a, b api.Mount) int { return cmp.Compare(a.Target, b.Target) })
	return all
}
