package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

func (d *differ) networking(have, want api.ContainerSpec) {
	d.reference("network_mode", have.NetworkMode, want.NetworkMode)
	if want.MacAddress != "" {
		d.value("mac_address", have.MacAddress, want.MacAddress)
	}
	d.endpoints(have.Endpoints, want.Endpoints)
	d.value("expose", have.Expose, want.Expose)
	d.value("ports", portTexts(have.Ports), portTexts(want.Ports))
	d.links(have.Links, want.Links)
	d.value("dns", have.DNS, want.DNS)
	d.value("dns_opt", have.DNSOptions, want.DNSOptions)
	d.value("dns_search", have.DNSSearch, want.DNSSearch)
	d.value("extra_hosts", have.ExtraHosts, want.ExtraHosts)
}

// reference compares namespace modes; "service:x" is satisfied by any container here.
func (d *differ) reference(path, have, want string) {
	if strings.HasPrefix(want, "service:") && strings.HasPrefix(have, "container:") {
		return
	}
	d.value(path, have, want)
}

func portTexts(ports []api.Port) []string {
	var texts []string
	for _, port := range ports {
		texts = append(texts, strings.TrimLeft(fmt.Sprintf("%s:%s:%d/%s", port.HostIP, port.Published, port.Target, port.Protocol), ":"))
	}
	return texts
}

func (d *differ) endpoints(have, want []api.Endpoint) {
	byName := func(endpoints []api.Endpoint) map[string]api.Endpoint {
		named := map[string]api.Endpoint{}
		for _, endpoint := range endpoints {
			named[endpoint.Network] = endpoint
		}
		return named
	}
	haveByName, wantByName := byName(have), byName(want)
	names := maps.Clone(haveByName)
	maps.Copy(names, wantByName)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		h, had := haveByName[name]
		w, wanted := wantByName[name]
		switch path := "networks." + name; {
		case !had:
			d.add(path, "", diffAdded)
		case !wanted:
			d.add(path, diffRemoved, "")
		default:
			d.endpoint(path, h, w)
		}
	}
	if len(have) > 0 && len(want) > 0 && have[0].Network != want[0].Network {
		d.add("networks", "first: "+have[0].Network, "first: "+want[0].Network)
	}
}

func (d *differ) endpoint(path string, have, want api.Endpoint) {
	d.value(path+".aliases", have.Aliases, want.Aliases)
	d.value(path+".ipv4_address", have.IPv4Address, want.IPv4Address)
	d.value(path+".ipv6_address", have.IPv6Address, want.IPv6Address)
	d.value(path+".link_local_ips", have.LinkLocalIPs, want.LinkLocalIPs)
	if want.MacAddress != "" {
		// Without one the engine makes an address, which looks like any other.
		d.value(path+".mac_address", have.MacAddress, want.MacAddress)
	}
	d.value(path+".driver_opts", have.DriverOpts, want.DriverOpts)
	d.value(path+".gw_priority", have.GwPriority, want.GwPriority)
	d.value(path+".interface_name", have.InterfaceName, want.InterfaceName)
}

// links compares aliases: their targets are containers here and services there. Compose
// adds aliases of its own to each link.
func (d *differ) links(have, want []string) {
	aliases := map[string]bool{}
	for _, link := range have {
		target, alias, _ := strings.Cut(link, ":")
		aliases[alias], aliases[target] = true, true
	}
	missing := slices.ContainsFunc(want, func(link string) bool {
		target, alias, ok := strings.Cut(link, ":")
		if !ok {
			alias = target
		}
		return !aliases[alias]
	})
	if missing || len(want) == 0 && len(have) > 0 {
		d.value("links", have, want)
	}
}

func (d *differ) host(have, want api.ContainerSpec) {
	d.value("cap_add", have.CapAdd, want.CapAdd)
	d.value("cap_drop", have.CapDrop, want.CapDrop)
	if want.CgroupnsMode != "" {
		d.value("cgroup", have.CgroupnsMode, want.CgroupnsMode)
	}
	d.value("group_add", have.GroupAdd, want.GroupAdd)
	d.value("init", have.Init, want.Init)
	d.reference("ipc", have.IpcMode, want.IpcMode)
	d.reference("pid", have.PidMode, want.PidMode)
	d.value("uts", have.UTSMode, want.UTSMode)
	d.value("userns_mode", have.UsernsMode, want.UsernsMode)
	d.value("isolation", have.Isolation, want.Isolation)
	d.value("privileged", have.Privileged, want.Privileged)
	d.value("read_only", have.ReadOnly, want.ReadOnly)
	if want.Runtime != "" {
		d.value("runtime", have.Runtime, want.Runtime)
	}
	d.value("security_opt", have.SecurityOpt, want.SecurityOpt)
	d.value("security_opt[systempaths=unconfined]", have.UnmaskedPaths, want.UnmaskedPaths)
	if want.ShmSize != 0 {
		d.value("shm_size", have.ShmSize, want.ShmSize)
	}
	d.value("storage_opt", have.StorageOpt, want.StorageOpt)
	d.value("sysctls", have.Sysctls, want.Sysctls)
	d.value("volume_driver", have.VolumeDriver, want.VolumeDriver)
	d.logging(have.Logging, want.Logging)
	d.value("oom_score_adj", have.OomScoreAdj, want.OomScoreAdj)
	d.value("oom_kill_disable", have.OomKillDisable, want.OomKillDisable)
	d.value("tmpfs", have.Tmpfs, want.Tmpfs)
	d.volumesFrom(have.VolumesFrom, want.VolumesFrom)
}

// logging compares what is wanted; the engine adds its own default driver and options.
func (d *differ) logging(have, want *api.Logging) {
	if want == nil {
		return
	}
	if have == nil {
		have = &api.Logging{}
	}
	if want.Driver != "" {
		d.value("logging.driver", have.Driver, want.Driver)
	}
	wanted := map[string]string{}
	for key := range want.Options {
		if value, ok := have.Options[key]; ok {
			wanted[key] = value
		}
	}
	d.secretMap("logging.options.", wanted, want.Options)
}

// volumesFrom compares what is not a service, and how many there are in all.
func (d *differ) volumesFrom(have, want []string) {
	left := slices.Clone(have)
	services := 0
	for _, entry := range want {
		if strings.HasPrefix(entry, "service:") {
			services++
		} else if at := slices.Index(left, entry); at >= 0 {
			left = slices.Delete(left, at, at+1)
		} else {
			d.value("volumes_from", have, want)
			return
		}
	}
	if len(left) != services {
		d.value("volumes_from", have, want)
	}
}

func (d *differ) mounts(have, want []api.Mount) {
	byTarget := func(mounts []api.Mount) map[string]api.Mount {
		named := map[string]api.Mount{}
		for _, m := range mounts {
			named[m.Target] = m
		}
		return named
	}
	haveBy, wantBy := byTarget(have), byTarget(want)
	targets := maps.Clone(haveBy)
	maps.Copy(targets, wantBy)
	for _, target := range slices.Sorted(maps.Keys(targets)) {
		h, had := haveBy[target]
		w, wanted := wantBy[target]
		switch path := "volumes[" + target + "]"; {
		case !had:
			d.add(path, "", mountText(w))
		case !wanted:
			d.add(path, mountText(h), "")
		default:
			if w.Repo != nil {
				h.Source, w.Source, w.Repo = "", "", nil
			}
			d.value(path, mountText(h), mountText(w))
		}
	}
}

// mountText spells a mount so that equal mounts are equal texts.
func mountText(m api.Mount) string {
	words := []string{m.Type}
	source := m.Source
	if m.Repo != nil {
		source = m.Repo.Path
	}
	if source != "" {
		words = append(words, source)
	}
	if m.ReadOnly {
		words = append(words, "read_only")
	}
	if m.NoCopy {
		words = append(words, "nocopy")
	}
	for _, option := range []struct {
		name  string
		value any
	}{
		{"propagation", m.Propagation},
		{"selinux", m.SELinux},
		{"recursive", m.Recursive},
		{"subpath", m.Subpath},
		{"labels", m.VolumeLabels},
		{"size", m.TmpfsSize},
		{"mode", m.TmpfsMode},
	} {
		if value := text(option.value); value != "" {
			words = append(words, option.name+"="+value)
		}
	}
	return strings.Join(words, " ")
}

func (d *differ) resources(have, want api.Resources) {
	d.value("cpus", float64(have.NanoCPUs)/1e9, float64(want.NanoCPUs)/1e9)
	d.value("cpu_shares", have.CPUShares, want.CPUShares)
	d.value("cpu_period", have.CPUPeriod, want.CPUPeriod)
	d.value("cpu_quota", have.CPUQuota, want.CPUQuota)
	d.value("cpu_rt_period", have.CPURTPeriod, want.CPURTPeriod)
	d.value("cpu_rt_runtime", have.CPURTRuntime, want.CPURTRuntime)
	d.value("cpu_count", have.CPUCount, want.CPUCount)
	d.value("cpu_percent", have.CPUPercent, want.CPUPercent)
	d.value("cpuset", have.CpusetCpus, want.CpusetCpus)
	if want.CgroupParent != "" {
		d.value("cgroup_parent", have.CgroupParent, want.CgroupParent)
	}
	d.value("mem_limit", have.Memory, want.Memory)
	d.value("mem_reservation", have.MemoryReservation, want.MemoryReservation)
	if !sameSwap(have, want) {
		d.value("memswap_limit", have.MemorySwap, want.MemorySwap)
	}
	d.value("mem_swappiness", have.MemorySwappiness, want.MemorySwappiness)
	d.value("pids_limit", have.PidsLimit, want.PidsLimit)
	d.ulimits(have.Ulimits, want.Ulimits)
	d.value("devices", have.Devices, want.Devices)
	d.value("device_cgroup_rules", have.DeviceCgroupRules, want.DeviceCgroupRules)
	d.value("gpus", requestTexts(have.DeviceRequests), requestTexts(want.DeviceRequests))
	d.value("blkio_config", have.Blkio, want.Blkio)
}

// ulimits compares the wanted ones; the engine reports its own defaults beside them.
func (d *differ) ulimits(have, want []api.Ulimit) {
	for _, w := range want {
		at := slices.IndexFunc(have, func(h api.Ulimit) bool { return h.Name == w.Name })
		if at < 0 {
			d.add("ulimits."+w.Name, "", text(w))
		} else {
			d.value("ulimits."+w.Name, have[at], w)
		}
	}
}

func requestTexts(requests []api.DeviceRequest) []string {
	var texts []string
	for _, r := range requests {
		texts = append(texts, strings.Join([]string{
			r.Driver, text(r.Count), text(r.DeviceIDs), text(r.Capabilities), text(r.Options),
		}, " "))
	}
	return texts
}
