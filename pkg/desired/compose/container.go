package compose

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/api"
)

// container maps a service to the spec that its replicas share.
// Source: docker/compose pkg/compose/create.go, getCreateConfigs.
func (m *mapper) container(s *types.ServiceConfig) api.ContainerSpec {
	spec := api.ContainerSpec{
		Image: s.Image, Platform: s.Platform,
		Command: words(s.Command), Entrypoint: words(s.Entrypoint),
		Env: m.environment(s), Labels: m.labels(s),
		User: s.User, WorkingDir: s.WorkingDir,
		Hostname: s.Hostname, Domainname: s.DomainName,
		TTY: s.Tty, StdinOpen: s.StdinOpen,
		StopSignal: s.StopSignal, StopGrace: duration(s.StopGracePeriod),
		Healthcheck: m.healthcheck(s), Annotations: texts(s.Annotations),
		Expose: m.expose(s), Ports: m.ports(s), Restart: m.restart(s),
		NetworkMode: s.NetworkMode, Links: m.links(s), ExternalLinks: externalLinks(s),
		DNS: m.dns(s), DNSOptions: items(s.DNSOpts), DNSSearch: items(s.DNSSearch),
		ExtraHosts: extraHosts(s), MacAddress: m.mac(at(s.Name)+".mac_address", s.MacAddress),
		Tmpfs: tmpfs(s), VolumesFrom: m.volumesFrom(s),
	}
	m.files(s, &spec)
	m.privileges(s, &spec)
	m.resources(s, &spec)
	return spec
}

// privileges maps what decides about isolation from the host.
func (m *mapper) privileges(s *types.ServiceConfig, spec *api.ContainerSpec) {
	spec.CapAdd, spec.CapDrop = items(s.CapAdd), items(s.CapDrop)
	spec.CgroupnsMode = s.Cgroup
	spec.GroupAdd = items(s.GroupAdd)
	spec.Init = s.Init
	spec.IpcMode, spec.PidMode = s.Ipc, s.Pid
	spec.UTSMode, spec.UsernsMode = s.Uts, s.UserNSMode
	spec.Isolation = s.Isolation
	spec.Privileged, spec.ReadOnly = s.Privileged, s.ReadOnly
	spec.Runtime = s.Runtime
	spec.SecurityOpt, spec.UnmaskedPaths = m.securityOpt(s)
	spec.ShmSize = int64(s.ShmSize)
	spec.StorageOpt = texts(s.StorageOpt)
	spec.Sysctls = texts(s.Sysctls)
	spec.OomScoreAdj = int(s.OomScoreAdj)
	spec.OomKillDisable = s.OomKillDisable
	if s.Logging != nil {
		spec.Logging = &api.Logging{Driver: s.Logging.Driver, Options: texts(s.Logging.Options)}
	}
}

// words keeps nil (the image's own) apart from empty (none).
func words(command types.ShellCommand) []string {
	if command == nil {
		return nil
	}
	return append([]string{}, command...)
}

// items copies a list; empty means nothing was asked for.
func items[S ~[]string](list S) []string {
	if len(list) == 0 {
		return nil
	}
	return slices.Clone([]string(list))
}

// texts copies a mapping; empty means nothing was asked for.
func texts[M ~map[string]string](mapping M) map[string]string {
	if len(mapping) == 0 {
		return nil
	}
	return maps.Clone(map[string]string(mapping))
}

func duration(d *types.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	exact := time.Duration(*d)
	return &exact
}

func value(d *types.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return time.Duration(*d)
}

// healthcheck follows docker/compose ToMobyHealthCheck.
func (m *mapper) healthcheck(s *types.ServiceConfig) *api.Healthcheck {
	check := s.HealthCheck
	if check == nil {
		return nil
	}
	path := at(s.Name) + ".healthcheck"
	out := &api.Healthcheck{
		Test:          slices.Clone([]string(check.Test)),
		Interval:      value(check.Interval),
		Timeout:       value(check.Timeout),
		StartPeriod:   value(check.StartPeriod),
		StartInterval: value(check.StartInterval),
	}
	if check.Retries != nil {
		out.Retries = int(min(*check.Retries, 1<<31-1))
	}
	if check.Disable {
		out.Test = []string{"NONE"}
	}
	switch {
	case len(out.Test) == 0:
		out.Test = nil
	case !slices.Contains([]string{"CMD", "CMD-SHELL", "NONE"}, out.Test[0]):
		m.found.errorf(path+".test", "must start with CMD, CMD-SHELL or NONE, not %q", out.Test[0])
	case len(out.Test) == 1 && out.Test[0] != "NONE":
		m.found.errorf(path+".test", "has no command after %s", out.Test[0])
	}
	if check.StartInterval != nil && check.StartPeriod == nil {
		m.found.errorf(path+".start_interval", "needs start_period: the engine refuses it alone")
	}
	return out
}

// restart follows docker/compose getRestartPolicy: deploy.restart_policy wins.
func (m *mapper) restart(s *types.ServiceConfig) api.RestartPolicy {
	out := m.restartAttribute(s)
	if s.Deploy == nil || s.Deploy.RestartPolicy == nil {
		return out
	}
	path := at(s.Name) + ".deploy.restart_policy"
	policy := s.Deploy.RestartPolicy
	out = api.RestartPolicy{Name: m.restartName(path+".condition", policy.Condition)}
	if policy.MaxAttempts != nil {
		out.MaxRetries = int(min(*policy.MaxAttempts, 1<<31-1))
	}
	return out
}

func (m *mapper) restartAttribute(s *types.ServiceConfig) api.RestartPolicy {
	path := at(s.Name) + ".restart"
	name, count, counted := strings.Cut(s.Restart, ":")
	out := api.RestartPolicy{Name: m.restartName(path, name)}
	if !counted {
		return out
	}
	retries, err := strconv.Atoi(count)
	if err != nil || retries < 0 || name != "on-failure" {
		m.found.errorf(path, "%q is not a restart policy: only on-failure takes a number, as in on-failure:3", s.Restart)
		return out
	}
	out.MaxRetries = retries
	return out
}

func (m *mapper) restartName(path, name string) string {
	switch name {
	case "", "no", "always", "on-failure", "unless-stopped":
		return name
	case "none":
		return "no"
	case "any":
		return "always"
	}
	m.found.errorf(path, "%q is not a restart policy: use no, always, on-failure[:n] or unless-stopped", name)
	return ""
}

// tmpfs maps "path:options" entries.
func tmpfs(s *types.ServiceConfig) map[string]string {
	if len(s.Tmpfs) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, entry := range s.Tmpfs {
		path, options, _ := strings.Cut(entry, ":")
		out[path] = options
	}
	return out
}

// hooks maps lifecycle hooks.
func (m *mapper) hooks(s *types.ServiceConfig, key string, hooks []types.ServiceHook) []api.Hook {
	var out []api.Hook
	for i, hook := range hooks {
		if len(hook.Command) == 0 {
			m.found.errorf(at(s.Name)+"."+key+"["+strconv.Itoa(i)+"]", "needs a command")
			continue
		}
		out = append(out, api.Hook{
			Command: words(hook.Command), User: hook.User, Privileged: hook.Privileged,
			WorkingDir: hook.WorkingDir, Env: m.pairs(hook.Environment),
		})
	}
	return out
}
