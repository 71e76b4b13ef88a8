package desired

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// checkTogether looks at what only all stacks of a node show.
func (b *nodeBuild) checkTogether(builds []*stackBuild) {
	b.checkProjects(builds)
	b.checkContainerNames(builds)
	b.checkPorts(builds)
	b.checkCapacity(builds)
}

func (b *nodeBuild) checkProjects(builds []*stackBuild) {
	owner := map[string]*stackBuild{}
	for _, build := range builds {
		if other, taken := owner[build.project]; taken {
			build.fail(b.node.doc.at(build.path), "stacks %s and %s have the same Compose project %s", other.stack.name(), build.stack.name(), build.project)
		}
		owner[build.project] = build
	}
}

// replicas calls each for all containers of the node, in a stable order.
func replicas(builds []*stackBuild, each func(*stackBuild, *api.Service, *api.Replica)) {
	builds = slices.Clone(builds)
	slices.SortFunc(builds, func(x, y *stackBuild) int { return strings.Compare(x.stack.name(), y.stack.name()) })
	for _, build := range builds {
		for i := range build.out.Services {
			service := &build.out.Services[i]
			for j := range service.Replicas {
				each(build, service, &service.Replicas[j])
			}
		}
	}
}

func (b *nodeBuild) checkContainerNames(builds []*stackBuild) {
	owner := map[string]string{}
	replicas(builds, func(build *stackBuild, service *api.Service, replica *api.Replica) {
		at := build.files.at("services." + service.Name + ".container_name")
		if other, taken := owner[replica.Name]; taken {
			build.fail(at, "container name %s is taken by %s", replica.Name, other)
			return
		}
		owner[replica.Name] = fmt.Sprintf("%s:%d:%d: services.%s", at.File, at.Line, at.Column, service.Name)
	})
}

// hostPort is a published range of ports.
type hostPorts struct {
	first, last int
	protocol    string
	ip          string
	container   string
	at          Problem
}

// checkPorts refuses two containers that publish the same port of the host. A published
// range without as many containers is the engine's to choose from and is left out.
func (b *nodeBuild) checkPorts(builds []*stackBuild) {
	var all []hostPorts
	replicas(builds, func(build *stackBuild, service *api.Service, replica *api.Replica) {
		for _, port := range replica.Spec.Ports {
			number, err := strconv.Atoi(port.Published)
			if err != nil || number == 0 {
				continue
			}
			all = append(all, hostPorts{
				first: number, last: number, protocol: orDefault(port.Protocol, "tcp"), ip: port.HostIP, container: replica.Name,
				at: build.files.port(service.Name, port),
			})
		}
	})
	slices.SortStableFunc(all, func(x, y hostPorts) int {
		return cmp.Or(cmp.Compare(x.protocol, y.protocol), cmp.Compare(x.first, y.first))
	})
	for i := range all {
		for j := i + 1; j < len(all) && all[j].first <= all[i].last && all[j].protocol == all[i].protocol; j++ {
			if all[i].container != all[j].container && sameAddress(all[i].ip, all[j].ip) {
				p := all[j].at
				p.Message = fmt.Sprintf("port %d/%s of the host is taken by container %s (%s:%d:%d: %s)", all[j].first, all[j].protocol,
					all[i].container, all[i].at.File, all[i].at.Line, all[i].at.Column, all[i].at.Path)
				b.report.add(p)
			}
		}
	}
}

func sameAddress(a, b string) bool {
	anyAddress := func(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }
	return a == b || anyAddress(a) || anyAddress(b)
}

// port finds the entry of a service's ports that publishes a port.
func (c *composeFiles) port(service string, port api.Port) Problem {
	c.parse()
	base := "services." + service + ".ports"
	for _, index := range slices.Backward(c.indexes) {
		for scalar := range index.Scalars() {
			if !strings.HasPrefix(scalar.Path, base+"[") || !strings.Contains(scalar.Value, port.Published) {
				continue
			}
			at := scalar.Path[:strings.Index(scalar.Path, "]")+1]
			line, column := index.At(at)
			return Problem{File: index.File(), Line: line, Column: column, Path: at}
		}
	}
	return c.at(base)
}

// demand is what one container may take.
type demand struct {
	container string
	bytes     int64
	nanoCPUs  int64
	at        Problem
}

// headroom is the share of the memory that should stay free, in percent.
const headroom = 10

// checkCapacity compares the limits of all containers with the node. Memory can't be
// shared, so more than there is is refused; CPU time can, so that is a warning, except for
// a single container, which the engine itself would refuse.
func (b *nodeBuild) checkCapacity(builds []*stackBuild) {
	var demands []demand
	replicas(builds, func(build *stackBuild, service *api.Service, replica *api.Replica) {
		resources := replica.Spec.Resources
		if resources.Memory > 0 || resources.NanoCPUs > 0 {
			demands = append(demands, demand{
				container: replica.Name, bytes: resources.Memory, nanoCPUs: resources.NanoCPUs,
				at: build.files.at("services." + service.Name + ".deploy.resources.limits"),
			})
		}
	})
	if capacity := b.node.Spec.Capacity.Memory; capacity > 0 {
		b.checkMemory(int64(capacity), demands)
	}
	if capacity := b.node.Spec.Capacity.CPUs; capacity > 0 {
		b.checkCPUs(capacity, demands)
	}
}

func (b *nodeBuild) checkMemory(capacity int64, demands []demand) {
	var sum int64
	var terms []string
	for _, d := range demands {
		if d.bytes > 0 {
			sum += d.bytes
			terms = append(terms, fmt.Sprintf("%s %s", d.container, api.ByteSize(d.bytes)))
		}
	}
	sums := fmt.Sprintf("%s of %s (%s)", api.ByteSize(sum), api.ByteSize(capacity), strings.Join(terms, " + "))
	const at = "spec.capacity.memory"
	switch {
	case sum > capacity:
		b.node.doc.problem(at, "the memory limits on node %s don't fit: %s > %s: %s; scale down or move a stack",
			b.name(), api.ByteSize(sum), api.ByteSize(capacity), strings.Join(terms, " + "))
	case sum > capacity/100*(100-headroom):
		b.node.doc.warning(at, "less than %d %% of the memory of node %s is left: %s", headroom, b.name(), sums)
	}
}

func (b *nodeBuild) checkCPUs(capacity float64, demands []demand) {
	var sum float64
	var terms []string
	const at = "spec.capacity.cpus"
	for _, d := range demands {
		if d.nanoCPUs == 0 {
			continue
		}
		cpus := float64(d.nanoCPUs) / 1e9
		if cpus > capacity {
			p := d.at
			p.Message = fmt.Sprintf("container %s wants %g CPUs, but node %s has %g", d.container, cpus, b.name(), capacity)
			b.report.add(p)
		}
		sum += cpus
		terms = append(terms, fmt.Sprintf("%s %g", d.container, cpus))
	}
	if sum > capacity {
		b.node.doc.warning(at, "the CPU limits on node %s add up to more than it has: %g > %g: %s", b.name(), sum, capacity, strings.Join(terms, " + "))
	}
}
