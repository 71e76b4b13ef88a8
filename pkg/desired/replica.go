package desired

import (
	"encoding/json"
	"slices"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/compose"
)

// rename gives a replica its slot's name, as container name and as network alias.
func rename(replica *api.Replica, name string, number int) {
	for i := range replica.Spec.Endpoints {
		aliases := slices.Clone(replica.Spec.Endpoints[i].Aliases)
		// The container's name comes first; an equal alias after it is the service's.
		if at := slices.Index(aliases, replica.Name); at >= 0 {
			aliases[at] = name
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
