package compose

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/api"
)

// checkTop refuses top-level sections that are not workloads of one node.
func (m *mapper) checkTop() {
	for _, name := range slices.Sorted(maps.Keys(m.model.AllJobs())) {
		m.found.errorf("jobs."+name, "jobs are not supported: make it a service that others wait for with service_completed_successfully")
	}
}

// checkService refuses what contradicts itself or can't be honoured, and warns about what
// has no effect. It covers compose-go's own consistency check, with places and all at once.
func (m *mapper) checkService(s *types.ServiceConfig) {
	m.checkImage(s)
	m.checkTreatment(s)
	m.checkNetworking(s)
	m.checkTwice(s)
	m.checkTargets(s)
	m.checkNamespaces(s)
}

func (m *mapper) checkImage(s *types.ServiceConfig) {
	place := at(s.Name)
	switch {
	case s.Provider != nil:
		return // refused as such
	case s.Image == "" && s.Build != nil:
		m.found.errorf(place, "needs an image: the agent does not build; push the image and name it")
	case s.Image == "":
		m.found.errorf(place, "needs an image")
	case len(api.References(s.Image)) > 0:
		m.found.errorf(place+".image", "must not hold a secret reference")
	}
	if len(api.References(s.ContainerName)) > 0 {
		m.found.errorf(place+".container_name", "must not hold a secret reference")
	}
	if s.Build != nil {
		m.checkBuild(place+".build", s.Build)
	}
}

// checkBuild keeps build contexts inside, although nothing is built: the file must not
// mean something else on the machine that does build it.
func (m *mapper) checkBuild(place string, build *types.BuildConfig) {
	m.checkContext(place+".context", build.Context)
	if build.Dockerfile != "" && !remote(build.Context) && !path.IsAbs(build.Dockerfile) {
		m.checkContext(place+".dockerfile", path.Join(build.Context, build.Dockerfile))
	}
	for _, name := range slices.Sorted(maps.Keys(build.AdditionalContexts)) {
		m.checkContext(place+".additional_contexts."+name, build.AdditionalContexts[name])
	}
}

// checkContext follows symbolic links; what is not there may be made by somebody else.
func (m *mapper) checkContext(place, context string) {
	if context == "" || remote(context) || strings.HasPrefix(context, types.ServicePrefix) {
		return
	}
	clean, err := inside(context)
	if err == nil {
		_, err = m.repo.look(clean)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.found.errorf(place, "%v", err)
	}
}

func (m *mapper) checkNetworking(s *types.ServiceConfig) {
	place := at(s.Name)
	if s.NetworkMode != "" && len(s.Networks) > 0 {
		m.found.errorf(place+".network_mode", "excludes networks: remove one of them")
	}
	for _, key := range slices.Sorted(maps.Keys(s.Networks)) {
		if _, ok := m.model.Networks[key]; !ok {
			m.found.errorf(place+".networks", "network %q is not defined", key)
		}
	}
	shared := strings.HasPrefix(s.NetworkMode, types.ServicePrefix) || strings.HasPrefix(s.NetworkMode, types.ContainerPrefix)
	switch {
	case len(s.Ports) > 0 && shared:
		m.found.errorf(place+".ports", "can't be published with network_mode %q: publish them on the service that owns the network", s.NetworkMode)
	case len(s.Ports) > 0 && (s.NetworkMode == "host" || s.NetworkMode == "none"):
		m.found.warnf(place+".ports", "have no effect with network_mode %q", s.NetworkMode)
	}
	if keys := s.NetworksByPriority(); len(keys) > 0 && s.MacAddress != "" {
		primary := s.Networks[keys[0]]
		if primary != nil && primary.MacAddress != "" && primary.MacAddress != s.MacAddress {
			m.found.errorf(place+".mac_address", "differs from that of network %s: give one of them", keys[0])
		}
	}
}

// checkTwice refuses values that are given twice and differ.
func (m *mapper) checkTwice(s *types.ServiceConfig) {
	if s.Deploy == nil {
		return
	}
	place := at(s.Name)
	differ := func(key, other string, both, different bool) {
		if both && different {
			m.found.errorf(place+"."+key, "differs from %s: give one of them", other)
		}
	}
	if s.Deploy.Replicas != nil {
		differ("scale", "deploy.replicas", s.Scale != nil, s.Scale != nil && *s.Scale != *s.Deploy.Replicas)
	}
	if limits := s.Deploy.Resources.Limits; limits != nil {
		differ("cpus", "deploy.resources.limits.cpus", s.CPUS != 0, limits.NanoCPUs.Value() != s.CPUS)
		differ("mem_limit", "deploy.resources.limits.memory", s.MemLimit != 0, limits.MemoryBytes != s.MemLimit)
		differ("pids_limit", "deploy.resources.limits.pids", s.PidsLimit != 0, limits.Pids != s.PidsLimit)
	}
	if reserved := s.Deploy.Resources.Reservations; reserved != nil {
		differ("mem_reservation", "deploy.resources.reservations.memory", s.MemReservation != 0, reserved.MemoryBytes != s.MemReservation)
	}
}

// checkTargets refuses two mounts on one path of the container.
func (m *mapper) checkTargets(s *types.ServiceConfig) {
	taken := map[string]string{}
	take := func(place, target string) {
		if other, ok := taken[target]; ok {
			m.found.errorf(place, "%s is mounted already by %s", target, other)
		}
		taken[target] = place
	}
	for i, entry := range s.Tmpfs {
		target, _, _ := strings.Cut(entry, ":")
		take(fmt.Sprintf("%s.tmpfs[%d]", at(s.Name), i), target)
	}
	for i, volume := range s.Volumes {
		place := fmt.Sprintf("%s.volumes[%d]", at(s.Name), i)
		if !strings.HasPrefix(volume.Target, "/") && !windowsPath.MatchString(volume.Target) {
			m.found.errorf(place, "target %q is not an absolute path in the container", volume.Target)
		}
		take(place, volume.Target)
	}
}

var windowsPath = regexp.MustCompile(`^([A-Za-z]:|\\\\)`)

// checkNamespaces refuses service: references to what is not there.
func (m *mapper) checkNamespaces(s *types.ServiceConfig) {
	for _, n := range []struct{ key, mode string }{
		{"network_mode", s.NetworkMode},
		{"ipc", s.Ipc},
		{"pid", s.Pid},
	} {
		name, ok := strings.CutPrefix(n.mode, types.ServicePrefix)
		if !ok {
			continue
		}
		if _, on := m.model.Services[name]; !on {
			m.found.errorf(at(s.Name)+"."+n.key, "service %q %s", name, m.absence(name))
		}
	}
	for _, n := range []struct{ key, mode string }{{"uts", s.Uts}, {"cgroup", s.Cgroup}} {
		if strings.HasPrefix(n.mode, types.ServicePrefix) {
			m.found.errorf(at(s.Name)+"."+n.key, "%q can't be shared with a service: the engine has no such mode", n.key)
		}
	}
}

// checkNames refuses one container name for two containers.
func (m *mapper) checkNames(services []api.Service) {
	owner := map[string]string{}
	for _, s := range services {
		for _, r := range s.Replicas {
			if other, ok := owner[r.Name]; ok {
				m.found.errorf(at(s.Name)+".container_name", "container name %q is taken by service %q", r.Name, other)
			}
			owner[r.Name] = s.Name
		}
	}
}
