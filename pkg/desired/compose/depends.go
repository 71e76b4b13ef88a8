package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/api"
)

// dependencies lists what a service starts after, sorted. compose-go adds the implicit
// ones of links, network_mode, ipc, pid and volumes_from. Optional ones that are off are
// left out, as Compose does.
func (m *mapper) dependencies(s *types.ServiceConfig) []api.Dependency {
	var out []api.Dependency
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		config := s.DependsOn[name]
		place := at(s.Name) + ".depends_on." + name
		if !m.known(place) {
			place = at(s.Name) + ".depends_on"
		}
		dependency := api.Dependency{
			Service: name, Condition: config.Condition, Restart: config.Restart, Required: config.Required,
		}
		if dependency.Condition == "" {
			dependency.Condition = api.ServiceStarted
		}
		if _, on := m.model.Services[name]; !on {
			if config.Required && !implied(s, name) {
				m.found.errorf(place, "depends on service %q, which %s", name, m.absence(name))
			}
			continue
		}
		m.condition(place, name, dependency.Condition)
		out = append(out, dependency)
	}
	return out
}

// implied tells whether another attribute than depends_on names the service as well; that
// one is reported by itself.
func implied(s *types.ServiceConfig, name string) bool {
	if slices.Contains([]string{s.NetworkMode, s.Ipc, s.Pid, s.Uts, s.Cgroup}, types.ServicePrefix+name) {
		return true
	}
	return slices.ContainsFunc(append(slices.Clone(s.Links), s.VolumesFrom...), func(entry string) bool {
		return entry == name || strings.HasPrefix(entry, name+":")
	})
}

func (m *mapper) condition(place, name, condition string) {
	switch condition {
	case api.ServiceStarted, api.ServiceCompleted:
	case api.ServiceHealthy:
		check := m.model.Services[name].HealthCheck
		switch {
		case check != nil && (check.Disable || len(check.Test) > 0 && check.Test[0] == "NONE"):
			m.found.errorf(place, "waits for %q to be healthy, but its healthcheck is disabled", name)
		case check == nil || len(check.Test) == 0:
			m.found.warnf(place, "waits for %q to be healthy, but it declares no healthcheck: its image must bring one", name)
		}
	default:
		m.found.errorf(place, "condition %q is not one of %s, %s, %s",
			condition, api.ServiceStarted, api.ServiceHealthy, api.ServiceCompleted)
	}
}

// checkDependencies refuses cycles; each is told once, from its smallest member.
func (m *mapper) checkDependencies(services []api.Service) {
	edges := map[string][]string{}
	for _, s := range services {
		for _, d := range s.DependsOn {
			edges[s.Name] = append(edges[s.Name], d.Service)
		}
	}
	told := map[string]bool{}
	for _, s := range services {
		if cycle := findCycle(edges, s.Name); cycle != nil && !told[s.Name] {
			for _, name := range cycle {
				told[name] = true
			}
			m.found.errorf(at(s.Name)+".depends_on", "services depend on each other: %s", strings.Join(cycle, " -> "))
		}
	}
}

// findCycle returns a shortest way from a service back to itself.
func findCycle(edges map[string][]string, start string) []string {
	came := map[string]string{}
	for queue := []string{start}; len(queue) > 0; queue = queue[1:] {
		for _, next := range edges[queue[0]] {
			if next == start {
				cycle := []string{start}
				for at := queue[0]; at != start; at = came[at] {
					cycle = append(cycle, at)
				}
				cycle = append(cycle, start)
				slices.Reverse(cycle)
				return cycle
			}
			if _, seen := came[next]; !seen {
				came[next] = queue[0]
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// volumesFrom writes "service:X[:ro]" and "container:X[:ro]".
func (m *mapper) volumesFrom(s *types.ServiceConfig) []string {
	var out []string
	for i, entry := range s.VolumesFrom {
		place := fmt.Sprintf("%s.volumes_from[%d]", at(s.Name), i)
		source, isContainer := strings.CutPrefix(entry, types.ContainerPrefix)
		name, mode, _ := strings.Cut(source, ":")
		switch mode {
		case "", "ro", "rw":
		default:
			m.found.errorf(place, "mode %q is neither ro nor rw", mode)
		}
		if _, ok := m.model.Services[name]; !ok && !isContainer {
			m.found.errorf(place, "service %q %s", name, m.absence(name))
		}
		prefix := types.ServicePrefix
		if isContainer {
			prefix = types.ContainerPrefix
		}
		out = append(out, prefix+source)
	}
	return out
}
