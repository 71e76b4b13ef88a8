package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"ktrdr.io/fleet/pkg/api"
)

// createRequest maps a spec to the request that docker compose would send for it.
func createRequest(s *session, req CreateRequest) (createBody, error) {
	var errs []error
	exposed, bindings, err := portMaps(req.Spec)
	errs = append(errs, err)
	host, err := hostConfig(s, req)
	errs = append(errs, err)
	networking, err := networkingConfig(s, req.Spec)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return createBody{}, &invalidError{err}
	}
	host.PortBindings = bindings
	cfg := containerConfig(req)
	cfg.ExposedPorts = exposed
	body := createBody{CreateRequest: container.CreateRequest{Config: cfg, HostConfig: host, NetworkingConfig: networking}}
	if !s.atLeast("1.44") {
		body.MacAddress = req.Spec.MacAddress
		if len(req.Spec.Endpoints) > 0 && req.Spec.Endpoints[0].MacAddress != "" {
			body.MacAddress = req.Spec.Endpoints[0].MacAddress
		}
	}
	return body, nil
}

func containerConfig(req CreateRequest) *container.Config {
	spec := req.Spec
	cfg := &container.Config{
		Hostname: spec.Hostname, Domainname: spec.Domainname, User: spec.User,
		Tty: spec.TTY, OpenStdin: spec.StdinOpen, AttachStdout: true, AttachStderr: true,
		Env: spec.Env, Cmd: spec.Command, Entrypoint: spec.Entrypoint, Image: spec.Image,
		WorkingDir: spec.WorkingDir, StopSignal: spec.StopSignal,
		NetworkDisabled: spec.NetworkMode == "disabled",
		Labels:          mergeLabels(spec.Labels, req.Labels),
		StopTimeout:     wholeSeconds(spec.StopGrace),
	}
	if check := spec.Healthcheck; check != nil {
		cfg.Healthcheck = &container.HealthConfig{
			Test: check.Test, Interval: check.Interval, Timeout: check.Timeout,
			StartPeriod: check.StartPeriod, StartInterval: check.StartInterval,
			Retries: check.Retries,
		}
	}
	return cfg
}

func portMaps(spec api.ContainerSpec) (network.PortSet, network.PortMap, error) {
	exposed := network.PortSet{}
	var errs []error
	for _, text := range spec.Expose {
		ports, err := network.ParsePortRange(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("expose %q: %w", text, err))
			continue
		}
		for port := range ports.All() {
			exposed[port] = struct{}{}
		}
	}
	bindings := network.PortMap{}
	for _, p := range spec.Ports {
		protocol := p.Protocol
		if protocol == "" {
			protocol = "tcp"
		}
		port, err := network.ParsePort(fmt.Sprintf("%d/%s", p.Target, protocol))
		errs = append(errs, err)
		address, err := parseAddress(p.HostIP)
		if err != nil {
			errs = append(errs, fmt.Errorf("host address of port %d: %w", p.Target, err))
		}
		exposed[port] = struct{}{}
		bindings[port] = append(bindings[port], network.PortBinding{HostIP: address, HostPort: p.Published})
	}
	return exposed, bindings, errors.Join(errs...)
}

func hostConfig(s *session, req CreateRequest) (*container.HostConfig, error) {
	spec := req.Spec
	binds, mounts, mountErr := mountsOf(s, req)
	host := &container.HostConfig{
		Binds: binds, Mounts: mounts, Annotations: spec.Annotations,
		CapAdd: capabilities(spec.CapAdd), CapDrop: capabilities(spec.CapDrop),
		NetworkMode: container.NetworkMode(networkMode(spec)), RestartPolicy: restartPolicy(spec.Restart),
		Init: spec.Init, IpcMode: container.IpcMode(spec.IpcMode), PidMode: container.PidMode(spec.PidMode),
		UTSMode: container.UTSMode(spec.UTSMode), UsernsMode: container.UsernsMode(spec.UsernsMode),
		CgroupnsMode: container.CgroupnsMode(spec.CgroupnsMode), Isolation: container.Isolation(spec.Isolation),
		ReadonlyRootfs: spec.ReadOnly, Privileged: spec.Privileged, Runtime: spec.Runtime,
		ShmSize: spec.ShmSize, Sysctls: spec.Sysctls, StorageOpt: spec.StorageOpt, Tmpfs: spec.Tmpfs,
		VolumeDriver: spec.VolumeDriver, VolumesFrom: volumesFrom(spec.VolumesFrom),
		DNSOptions: spec.DNSOptions, DNSSearch: spec.DNSSearch, ExtraHosts: spec.ExtraHosts,
		GroupAdd: spec.GroupAdd, Links: linksOf(spec), SecurityOpt: spec.SecurityOpt, OomScoreAdj: spec.OomScoreAdj,
		Resources: hostResources(spec.Resources, &spec.OomKillDisable),
	}
	if spec.Logging != nil {
		host.LogConfig = container.LogConfig{Type: spec.Logging.Driver, Config: spec.Logging.Options}
	}
	if spec.UnmaskedPaths {
		host.MaskedPaths, host.ReadonlyPaths = []string{}, []string{}
	}
	errs := []error{mountErr}
	for _, text := range spec.DNS {
		address, err := parseAddress(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("dns: %w", err))
		}
		host.DNS = append(host.DNS, address)
	}
	return host, errors.Join(errs...)
}

// capabilities spells them as docker's own client does: upper case, with prefix, sorted.
func capabilities(names []string) []string {
	var spelled []string
	for _, name := range names {
		name = strings.ToUpper(name)
		if name != "ALL" && !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		spelled = append(spelled, name)
	}
	slices.Sort(spelled)
	return slices.Compact(spelled)
}

func restartPolicy(policy api.RestartPolicy) container.RestartPolicy {
	return container.RestartPolicy{Name: container.RestartPolicyMode(policy.Name), MaximumRetryCount: policy.MaxRetries}
}

// volumesFrom takes Compose's "container:" prefix off, which the engine does not know.
func volumesFrom(entries []string) []string {
	var read []string
	for _, entry := range entries {
		read = append(read, strings.TrimPrefix(entry, "container:"))
	}
	return read
}

func linksOf(spec api.ContainerSpec) []string {
	return slices.Concat(spec.Links, spec.ExternalLinks)
}
