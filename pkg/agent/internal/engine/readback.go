package engine

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"ktrdr.io/fleet/pkg/api"
)

// readSpec reads a container's configuration back in the terms of a ContainerSpec.
// Values that the engine makes up for each container (hostname, generated addresses, its
// own alias) are left out. Engine defaults that look like settings are kept: plan.Diff
// knows them.
func readSpec(raw container.InspectResponse, mac string) api.ContainerSpec {
	cfg := raw.Config
	spec := api.ContainerSpec{
		Image:      cfg.Image,
		Command:    cfg.Cmd,
		Entrypoint: cfg.Entrypoint,
		Env:        slices.Sorted(slices.Values(cfg.Env)),
		Labels:     cfg.Labels,
		User:       cfg.User,
		WorkingDir: cfg.WorkingDir,
		Hostname:   readHostname(raw),
		Domainname: cfg.Domainname,
		TTY:        cfg.Tty,
		StdinOpen:  cfg.OpenStdin,
		StopSignal: cfg.StopSignal,
		Expose:     readExposed(cfg.ExposedPorts),
		Mounts:     readMounts(raw.HostConfig),
	}
	if cfg.StopTimeout != nil {
		grace := time.Duration(*cfg.StopTimeout) * time.Second
		spec.StopGrace = &grace
	}
	if check := cfg.Healthcheck; check != nil {
		spec.Healthcheck = &api.Healthcheck{
			Test: check.Test, Interval: check.Interval, Timeout: check.Timeout,
			StartPeriod: check.StartPeriod, StartInterval: check.StartInterval, Retries: check.Retries,
		}
	}
	readHost(&spec, raw.HostConfig)
	readNetworking(&spec, raw, mac)
	return spec
}

// readHostname leaves out the name that the engine makes of the container's id.
func readHostname(raw container.InspectResponse) string {
	name := raw.Config.Hostname
	mode := raw.HostConfig.NetworkMode
	if mode.IsHost() || mode.IsContainer() || (len(name) == 12 && strings.HasPrefix(raw.ID, name)) {
		// On the host's network the engine records the host's own name.
		return ""
	}
	return name
}

func readExposed(ports network.PortSet) []string {
	var exposed []string
	for port := range ports {
		exposed = append(exposed, port.String())
	}
	slices.Sort(exposed)
	return exposed
}

func readHost(spec *api.ContainerSpec, host *container.HostConfig) {
	spec.Annotations = host.Annotations
	spec.Restart = api.RestartPolicy{Name: string(host.RestartPolicy.Name), MaxRetries: host.RestartPolicy.MaximumRetryCount}
	for _, server := range host.DNS {
		spec.DNS = append(spec.DNS, server.String())
	}
	spec.DNSOptions = host.DNSOptions
	spec.DNSSearch = host.DNSSearch
	spec.ExtraHosts = slices.Sorted(slices.Values(host.ExtraHosts))
	spec.Tmpfs = host.Tmpfs
	spec.VolumesFrom = host.VolumesFrom
	spec.CapAdd = host.CapAdd
	spec.CapDrop = host.CapDrop
	spec.CgroupnsMode = string(host.CgroupnsMode)
	spec.GroupAdd = host.GroupAdd
	spec.Init = host.Init
	spec.IpcMode = string(host.IpcMode)
	spec.PidMode = string(host.PidMode)
	spec.UTSMode = string(host.UTSMode)
	spec.UsernsMode = string(host.UsernsMode)
	spec.Isolation = string(host.Isolation)
	spec.Privileged = host.Privileged
	spec.ReadOnly = host.ReadonlyRootfs
	spec.Runtime = host.Runtime
	spec.SecurityOpt = host.SecurityOpt
	spec.UnmaskedPaths = host.MaskedPaths != nil && len(host.MaskedPaths) == 0
	spec.ShmSize = host.ShmSize
	spec.StorageOpt = host.StorageOpt
	spec.Sysctls = host.Sysctls
	spec.VolumeDriver = host.VolumeDriver
	spec.OomScoreAdj = host.OomScoreAdj
	spec.OomKillDisable = host.OomKillDisable != nil && *host.OomKillDisable
	if host.LogConfig.Type != "" || len(host.LogConfig.Config) > 0 {
		spec.Logging = &api.Logging{Driver: host.LogConfig.Type, Options: maps.Clone(host.LogConfig.Config)}
	}
	spec.Ports = readPorts(host.PortBindings)
	spec.Resources = readResources(host.Resources)
}

func readPorts(bindings network.PortMap) []api.Port {
	var ports []api.Port
	for target, hosts := range bindings {
		for _, host := range hosts {
			port := api.Port{Published: host.HostPort, Target: target.Num(), Protocol: string(target.Proto())}
			if host.HostIP.IsValid() {
				port.HostIP = host.HostIP.String()
			}
			ports = append(ports, port)
		}
	}
	slices.SortFunc(ports, comparePorts)
	return ports
}

func comparePorts(a, b api.Port) int {
	if a.Target != b.Target {
		return int(a.Target) - int(b.Target)
	}
	return strings.Compare(a.Protocol+" "+a.HostIP+" "+a.Published, b.Protocol+" "+b.HostIP+" "+b.Published)
}
