package desired

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/compose"
)

// scaleOf is the number of slots of a pool that run on the node.
func (b *stackBuild) scaleOf(name string) int {
	if n, ok := b.node.node.Spec.Scale[name]; ok {
		return n
	}
	return b.stack.Spec.Pools[name].Default
}

// checkScale refuses what the pool can't hold.
func (b *stackBuild) checkScale() {
	for _, name := range keysOf(b.stack.Spec.Pools) {
		limit := poolMax(b.stack.Spec.Pools[name])
		n, ok := b.node.node.Spec.Scale[name]
		if !ok || n <= limit {
			continue
		}
		fix := "raise max in " + b.stack.doc.file
		if b.stack.Spec.Pools[name].Template == "" {
			fix = "add a service to the pool in " + b.stack.doc.file
		}
		b.fail(b.node.node.doc.at("spec.scale."+name), "is %d, but pool %s has at most %d slots: scale down or %s", n, name, limit, fix)
	}
}

// enabled returns the services that pools turn on.
func (b *stackBuild) enabled() []string {
	var on []string
	for _, name := range keysOf(b.stack.Spec.Pools) {
		pool := b.stack.Spec.Pools[name]
		n := min(max(b.scaleOf(name), 0), poolMax(pool))
		if pool.Template != "" {
			on = append(on, pool.Template)
		} else {
			on = append(on, pool.Services[:min(n, len(pool.Services))]...)
		}
	}
	return on
}

// poolOf returns the pool and the slot of a service of a list pool, counted from 1.
func (s *stack) poolOf(service string) (name string, slot int) {
	for _, name := range keysOf(s.Spec.Pools) {
		if i := slices.Index(s.Spec.Pools[name].Services, service); i >= 0 {
			return name, i + 1
		}
	}
	return "", 0
}

// applyPools drops the services of slots that are off, stamps the templates and marks the
// pools' services.
func (b *stackBuild) applyPools(ctx context.Context, project *compose.Project) {
	off := map[string]string{}
	var kept []api.Service
	for _, service := range project.Services {
		name, slot := b.stack.poolOf(service.Name)
		if name != "" && slot > b.scaleOf(name) {
			off[service.Name] = name
			continue
		}
		service.Pool = name
		kept = append(kept, service)
	}
	for _, name := range keysOf(b.stack.Spec.Pools) {
		if template := b.stack.Spec.Pools[name].Template; template != "" {
			kept = b.stamp(ctx, name, kept)
			if b.scaleOf(name) == 0 {
				off[template] = name
			}
		}
	}
	all := project.Services
	project.Services = kept
	b.checkDependents(off, kept)
	dropUnused(project, all)
}

// checkDependents refuses a required dependency on a slot that is off.
func (b *stackBuild) checkDependents(off map[string]string, kept []api.Service) {
	for i := range kept {
		service := &kept[i]
		service.DependsOn = slices.DeleteFunc(service.DependsOn, func(dependency api.Dependency) bool {
			pool, isOff := off[dependency.Service]
			if isOff && dependency.Required {
				b.fail(b.files.at("services."+service.Name+".depends_on."+dependency.Service),
					"depends on %s, which the scale of pool %s turns off on node %s", dependency.Service, pool, b.node.name())
			}
			return isOff
		})
	}
}

// stamp replaces the template service of a pool by its slots: the same service with one
// replica for each, whose files were read with that slot's ${REPLICA} and ${PORT}.
func (b *stackBuild) stamp(ctx context.Context, name string, services []api.Service) []api.Service {
	pool := b.stack.Spec.Pools[name]
	at := slices.IndexFunc(services, func(s api.Service) bool { return s.Name == pool.Template })
	if at < 0 {
		return services
	}
	template := services[at]
	if len(template.Replicas) != 1 {
		b.fail(b.files.at("services."+template.Name), "is the template of pool %s: it can't have replicas of its own", name)
		return services
	}
	template.Pool, template.Replicas = name, nil
	for slot := 1; slot <= min(b.scaleOf(name), poolMax(pool), maxSlots); slot++ {
		replica, ok := b.slot(ctx, name, slot, services)
		if !ok {
			break
		}
		template.Replicas = append(template.Replicas, replica)
	}
	services = slices.Clone(services)
	if len(template.Replicas) == 0 {
		return slices.Delete(services, at, at+1)
	}
	services[at] = template
	return services
}

// slot reads the Compose files for one slot of a template.
func (b *stackBuild) slot(ctx context.Context, name string, slot int, base []api.Service) (api.Replica, bool) {
	pool := b.stack.Spec.Pools[name]
	project, ok := b.load(ctx, b.slotVariables(pool, slot))
	if !ok {
		return api.Replica{}, false
	}
	var replica api.Replica
	found := false
	for i := range project.Services {
		service := &project.Services[i]
		if service.Name == pool.Template && len(service.Replicas) == 1 {
			replica, found = service.Replicas[0], true
		} else if slot == 1 && !b.isTemplate(service.Name) {
			b.checkSlotVariables(service, base)
		}
	}
	if !found {
		return replica, false
	}
	number := strconv.Itoa(slot)
	before := replica.Name
	if before == b.project+"-"+pool.Template+"-1" {
		before = pool.Template
	}
	rename(&replica, before+"-"+number, slot)
	return replica, true
}

func (b *stackBuild) isTemplate(service string) bool {
	for _, pool := range b.stack.Spec.Pools {
		if pool.Template == service {
			return true
		}
	}
	return false
}

// checkSlotVariables refuses ${REPLICA} and ${PORT} outside of a template: it shows as a
// service that differs between slots.
func (b *stackBuild) checkSlotVariables(service *api.Service, base []api.Service) {
	for i := range base {
		if base[i].Name != service.Name || len(base[i].Replicas) == 0 || len(service.Replicas) == 0 {
			continue
		}
		if base[i].Replicas[0].SpecHash != service.Replicas[0].SpecHash {
			b.fail(b.files.at("services."+service.Name), "uses ${REPLICA} or ${PORT}, which only the template of a pool has")
		}
	}
}

// noSlot are the values of ${REPLICA} and ${PORT} while services outside of templates are
// read: no slot has them, so a service that uses one shows.
func (b *stackBuild) noSlot() map[string]string {
	values := map[string]string{}
	for _, name := range keysOf(b.stack.Spec.Pools) {
		pool := b.stack.Spec.Pools[name]
		if pool.Template == "" {
			continue
		}
		values[varReplica] = "0"
		if _, ok := slotPort(pool, 1); ok {
			values[varPort] = "65535"
		}
	}
	return values
}

func (b *stackBuild) slotVariables(pool api.Pool, slot int) map[string]string {
	values := b.noSlot()
	values[varReplica] = strconv.Itoa(slot)
	if port, ok := slotPort(pool, slot); ok {
		values[varPort] = strconv.Itoa(port)
	}
	return values
}

// rename gives a replica its slot's name, as container name and as network alias.
func rename(replica *api.Replica, name string, number int) {
	for i := range replica.Spec.Endpoints {
		aliases := slices.Clone(replica.Spec.Endpoints[i].Aliases)
		for j := range aliases {
			if aliases[j] == replica.Name {
				aliases[j] = name
			}
		}
		replica.Spec.Endpoints[i].Aliases = aliases
	}
	replica.Name, replica.Number = name, number
	seal(replica)
}

// seal computes what follows from the spec.
func seal(replica *api.Replica) {
	replica.SpecHash = replica.Spec.Hash()
	data, err := json.Marshal(&replica.Spec)
	if err != nil {
		// A spec holds only what encoding/json encodes; see ContainerSpec.Hash.
		return
	}
	replica.SecretRefs = api.References(string(data))
	slices.Sort(replica.SecretRefs)
}

// dropUnused removes networks and volumes that only dropped services used: nothing is made
// for what is off.
func dropUnused(project *compose.Project, before []api.Service) {
	was, is := usedObjects(before), usedObjects(project.Services)
	gone := func(kind, name string) bool { return was[kind+name] && !is[kind+name] }
	project.Networks = slices.DeleteFunc(project.Networks, func(n api.NetworkSpec) bool { return gone("network ", n.Name) })
	project.Volumes = slices.DeleteFunc(project.Volumes, func(v api.VolumeSpec) bool { return gone("volume ", v.Name) })
}

func usedObjects(services []api.Service) map[string]bool {
	used := map[string]bool{}
	for i := range services {
		for j := range services[i].Replicas {
			spec := &services[i].Replicas[j].Spec
			for _, endpoint := range spec.Endpoints {
				used["network "+endpoint.Network] = true
			}
			for _, mount := range spec.Mounts {
				if mount.Type == api.MountVolume {
					used["volume "+mount.Source] = true
				}
			}
		}
	}
	return used
}

// checkServiceNames refuses pools and policies that name services which do not exist.
func (b *stackBuild) checkServiceNames(known []string) {
	for _, name := range keysOf(b.stack.Spec.Services) {
		if !slices.Contains(known, name) {
			b.fail(b.stack.doc.at("spec.services."+name), "no Compose file has this service%s", didYouMean(name, known))
		}
	}
	for _, name := range keysOf(b.stack.Spec.Pools) {
		pool, at := b.stack.Spec.Pools[name], "spec.pools."+name
		for i, service := range pool.Services {
			if !slices.Contains(known, service) {
				b.fail(b.stack.doc.at(fmt.Sprintf("%s.services[%d]", at, i)), "no Compose file has service %s%s", service, didYouMean(service, known))
			}
		}
		if pool.Template != "" && !slices.Contains(known, pool.Template) {
			b.fail(b.stack.doc.at(at+".template"), "no Compose file has service %s%s", pool.Template, didYouMean(pool.Template, known))
		}
	}
}
