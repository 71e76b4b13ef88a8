package desired

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

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

// enabled returns the services of list pools that are on.
func (b *stackBuild) enabled() []string {
	var on []string
	for _, name := range keysOf(b.stack.Spec.Pools) {
		services := b.stack.Spec.Pools[name].Services
		on = append(on, services[:min(max(b.scaleOf(name), 0), len(services))]...)
	}
	return on
}

// checkTemplates refuses a second template without a profile: where the files are read for
// one pool, ${PORT} has that pool's value, and the other templates must be off. False means
// that reading them makes no sense.
func (b *stackBuild) checkTemplates() bool {
	var open []string
	for _, name := range keysOf(b.stack.Spec.Pools) {
		template := b.stack.Spec.Pools[name].Template
		if template != "" && b.files.has("services."+template) && !b.files.has("services."+template+".profiles") {
			open = append(open, template)
		}
	}
	if len(open) < 2 {
		return true
	}
	for _, template := range open {
		b.fail(b.files.at("services."+template), "is one of several templates of pools: give each a profile, so that they are not all on at once")
	}
	return false
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
		switch {
		case b.isTemplate(service.Name):
		case name != "" && slot > b.scaleOf(name):
			off[service.Name] = name
		default:
			service.Pool = name
			kept = append(kept, service)
		}
	}
	before := slices.Clone(project.Services)
	for _, name := range keysOf(b.stack.Spec.Pools) {
		template := b.stack.Spec.Pools[name].Template
		if template == "" {
			continue
		}
		if service, ok := b.stamp(ctx, name, project); ok {
			kept = append(kept, service)
		} else {
			off[template] = name
		}
	}
	slices.SortFunc(kept, func(x, y api.Service) int { return strings.Compare(x.Name, y.Name) })
	project.Services = kept
	b.checkDependents(off, kept)
	dropUnused(project, before)
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

// stamp makes the template service of a pool: one replica for each slot, whose files were
// read with that slot's ${REPLICA} and ${PORT}. Networks and volumes that only the template
// uses are added to the project. False means that no slot is on, or none could be read.
func (b *stackBuild) stamp(ctx context.Context, name string, project *compose.Project) (api.Service, bool) {
	pool := b.stack.Spec.Pools[name]
	var stamped api.Service
	for slot := 1; slot <= min(b.scaleOf(name), poolMax(pool), maxSlots); slot++ {
		loaded, ok := b.load(ctx, b.slotVariables(pool, slot), append(b.enabled(), pool.Template))
		if !ok {
			return stamped, false
		}
		at := slices.IndexFunc(loaded.Services, func(s api.Service) bool { return s.Name == pool.Template })
		if at < 0 {
			return stamped, false
		}
		service := loaded.Services[at]
		if len(service.Replicas) != 1 {
			b.fail(b.files.at("services."+service.Name), "is the template of pool %s: it can't have replicas of its own", name)
			return stamped, false
		}
		if slot == 1 {
			stamped = service
			stamped.Pool, stamped.Replicas = name, nil
			b.checkSlotVariables(loaded.Services, project.Services)
			addObjects(project, loaded)
		}
		stamped.Replicas = append(stamped.Replicas, b.slot(service.Replicas[0], pool.Template, slot))
	}
	return stamped, len(stamped.Replicas) > 0
}

// slot names the replica of a slot: <container_name or service>-<slot>.
func (b *stackBuild) slot(replica api.Replica, service string, slot int) api.Replica {
	name := replica.Name
	if name == b.project+"-"+service+"-1" {
		name = service
	}
	rename(&replica, name+"-"+strconv.Itoa(slot), slot)
	return replica
}

// addObjects adds networks and volumes of a slot's files that the project lacks, because
// the template was off by profile when it was read.
func addObjects(project, slot *compose.Project) {
	for _, network := range slot.Networks {
		if !slices.ContainsFunc(project.Networks, func(n api.NetworkSpec) bool { return n.Key == network.Key }) {
			project.Networks = append(project.Networks, network)
		}
	}
	for _, volume := range slot.Volumes {
		if !slices.ContainsFunc(project.Volumes, func(v api.VolumeSpec) bool { return v.Key == volume.Key }) {
			project.Volumes = append(project.Volumes, volume)
		}
	}
	slices.SortFunc(project.Networks, func(x, y api.NetworkSpec) int { return strings.Compare(x.Key, y.Key) })
	slices.SortFunc(project.Volumes, func(x, y api.VolumeSpec) int { return strings.Compare(x.Key, y.Key) })
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
// service that a slot makes different from what it is without one.
func (b *stackBuild) checkSlotVariables(slot, base []api.Service) {
	hashes := map[string]string{}
	for i := range base {
		if len(base[i].Replicas) > 0 && !b.isTemplate(base[i].Name) {
			hashes[base[i].Name] = base[i].Replicas[0].SpecHash
		}
	}
	for i := range slot {
		hash, ok := hashes[slot[i].Name]
		if ok && len(slot[i].Replicas) > 0 && slot[i].Replicas[0].SpecHash != hash {
			b.fail(b.files.at("services."+slot[i].Name), "uses ${REPLICA} or ${PORT}, which only the template of a pool has")
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
