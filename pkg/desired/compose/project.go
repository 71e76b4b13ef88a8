package compose

import (
	"maps"
	"slices"
	"sort"
	"strconv"

	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/api"
)

// mapper turns the model into api specs and reports what can't be.
type mapper struct {
	*loading

	model *types.Project
	// digests of repository files that are mounted, by path.
	digests map[string]string
	// exceptions are what the table of attributes does not map.
	exceptions map[string][]Attribute
}

// project checks and maps everything; problems are in l.found.
func (l *loading) project(model *types.Project) *Project {
	m := &mapper{loading: l, model: model, digests: map[string]string{}, exceptions: exceptions()}
	m.checkTop()
	out := &Project{Disabled: slices.Sorted(maps.Keys(model.DisabledServices))}
	for _, name := range slices.Sorted(maps.Keys(model.Services)) {
		if l.ctx.Err() != nil {
			return out
		}
		service := model.Services[name]
		service.Name = name
		m.checkService(&service)
		out.Services = append(out.Services, m.service(&service))
	}
	m.checkDependencies(out.Services)
	m.markJobs(out.Services)
	m.checkNames(out.Services)
	m.checkHostPorts(out.Services)
	out.Networks = m.networks()
	out.Volumes = m.volumes()
	return out
}

func at(service string) string { return "services." + service }

func (m *mapper) service(s *types.ServiceConfig) api.Service {
	out := api.Service{
		Name:           s.Name,
		DependsOn:      m.dependencies(s),
		PullPolicy:     m.pullPolicy(s),
		Update:         m.update(s),
		Rollback:       m.rollback(s),
		PostStart:      m.hooks(s, "post_start", s.PostStart),
		PreStop:        m.hooks(s, "pre_stop", s.PreStop),
		OwnHealthcheck: s.HealthCheck != nil && !s.HealthCheck.Disable && declaresTest(s.HealthCheck),
	}
	spec := m.container(s)
	for number := 1; number <= m.scale(s); number++ {
		out.Replicas = append(out.Replicas, m.replica(s, spec, number))
	}
	return out
}

func declaresTest(check *types.HealthCheckConfig) bool {
	return len(check.Test) > 0 && check.Test[0] != "NONE"
}

// maxReplicas bounds what one typing error can start.
const maxReplicas = 1000

// scale is the number of replicas; deploy.mode global means one on a single node.
func (m *mapper) scale(s *types.ServiceConfig) int {
	path := at(s.Name) + ".scale"
	if s.Scale == nil && s.Deploy != nil && s.Deploy.Replicas != nil {
		path = at(s.Name) + ".deploy.replicas"
	}
	scale := s.GetScale()
	switch {
	case s.Deploy != nil && (s.Deploy.Mode == "global" || s.Deploy.Mode == "global-job"):
		return min(scale, 1)
	case scale < 0:
		m.found.errorf(path, "must not be negative")
		return 0
	case scale > maxReplicas:
		m.found.errorf(path, "%d replicas are more than the %d that one node may run", scale, maxReplicas)
		return 0
	case scale > 1 && s.ContainerName != "":
		m.found.errorf(path, "can't be %d: container_name %q can be given once only; remove container_name", scale, s.ContainerName)
		return 1
	}
	return scale
}

// replica adds to the service's spec what differs between replicas: the container's name
// and what follows from it. Source: docker/compose getContainerName, getAliases.
func (m *mapper) replica(s *types.ServiceConfig, spec api.ContainerSpec, number int) api.Replica {
	name := s.ContainerName
	if name == "" {
		name = m.req.Project + "-" + s.Name + "-" + strconv.Itoa(number)
	}
	spec.Endpoints = m.endpoints(s, name)
	replica := api.Replica{Number: number, Name: name, Spec: spec, SecretRefs: secretRefs(&spec)}
	replica.SpecHash = replica.Spec.Hash()
	return replica
}

// secretRefs lists the distinct references that a spec uses, sorted.
func secretRefs(spec *api.ContainerSpec) []string {
	set := map[string]bool{}
	eachString(spec, func(s string) {
		for _, ref := range api.References(s) {
			set[ref] = true
		}
	})
	refs := slices.Sorted(maps.Keys(set))
	if len(refs) == 0 {
		return nil
	}
	return refs
}

// markJobs marks services that somebody waits for to end.
func (m *mapper) markJobs(services []api.Service) {
	jobs := map[string]bool{}
	for _, s := range services {
		for _, d := range s.DependsOn {
			jobs[d.Service] = jobs[d.Service] || d.Condition == api.ServiceCompleted
		}
		if deploy := m.model.Services[s.Name].Deploy; deploy != nil {
			jobs[s.Name] = jobs[s.Name] || deploy.Mode == "replicated-job" || deploy.Mode == "global-job"
		}
	}
	for i := range services {
		services[i].Job = jobs[services[i].Name]
	}
}

// used returns the keys that enabled services refer to, sorted.
func (m *mapper) used(keys func(types.ServiceConfig) []string) []string {
	set := map[string]bool{}
	for _, s := range m.model.Services {
		for _, key := range keys(s) {
			set[key] = true
		}
	}
	out := slices.Collect(maps.Keys(set))
	sort.Strings(out)
	return out
}
