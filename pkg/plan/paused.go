package plan

import (
	"slices"

	"ktrdr.io/fleet/pkg/api"
)

// mixed is the stack of a paused update: each container as it stands. What the update
// has replaced stays so, what it has not reached keeps its last known good definition, and
// all of it is repaired. The pins are those of the containers of the last known good.
func (r *rollout) mixed() (*api.Stack, map[string]api.ImagePin) {
	want, pins := *r.in.Stack, map[string]api.ImagePin{}
	var names []string
	for _, stack := range []*api.Stack{r.in.Stack, r.good} {
		for i := range stack.Services {
			names = append(names, stack.Services[i].Name)
		}
	}
	slices.Sort(names)
	want.Services = nil
	for _, name := range slices.Compact(names) {
		if svc, ok := r.mixedService(name, pins); ok {
			want.Services = append(want.Services, svc)
		}
	}
	want.Networks = mixedNetworks(r.in, r.good)
	for _, v := range r.good.Volumes {
		if !slices.ContainsFunc(want.Volumes, func(o api.VolumeSpec) bool { return o.Name == v.Name }) {
			want.Volumes = append(slices.Clone(want.Volumes), v)
		}
	}
	return &want, pins
}

func (r *rollout) mixedService(name string, pins map[string]api.ImagePin) (api.Service, bool) {
	next, good := r.in.Stack.Service(name), r.good.Service(name)
	mixed := api.Service{}
	var old []api.Replica
	if good != nil {
		mixed, old = *good, good.Replicas
	}
	var fresh []api.Replica
	if next != nil {
		fresh = next.Replicas
	}
	var kept []api.Replica
	for _, rep := range fresh {
		at := slices.IndexFunc(old, func(o api.Replica) bool { return o.Name == rep.Name })
		if at < 0 && r.reached(name, &rep, nil) || at >= 0 && r.reached(name, &rep, &old[at]) {
			kept = append(kept, rep)
		}
	}
	if len(kept) > 0 {
		mixed = *next
	}
	for _, rep := range old {
		if slices.ContainsFunc(kept, func(o api.Replica) bool { return o.Name == rep.Name }) {
			continue
		}
		pins[rep.Name] = r.memory.Good.Images[rep.Name]
		kept = append(kept, rep)
	}
	slices.SortFunc(kept, func(a, b api.Replica) int { return a.Number - b.Number })
	mixed.Replicas = kept
	return mixed, len(kept) > 0
}

// reached says that the update has replaced a container: its own was started, and none of
// the last known good serves any more.
func (r *rollout) reached(service string, rep, good *api.Replica) bool {
	pin := r.memory.Good.Images[rep.Name]
	started := false
	for _, c := range r.in.Observed.Containers {
		if owner(r.in.Stack, c) == foreign || c.Labels[api.LabelService] != service || number(c) != rep.Number {
			continue
		}
		old := good != nil && c.SpecHash() == good.SpecHash && (pin.ID == "" || c.ImageID == pin.ID)
		if old && isUp(c) {
			return false
		}
		started = started || !old && c.SpecHash() == rep.SpecHash && !c.StartedAt.IsZero()
	}
	return started
}

// mixedNetworks are those of both states; of one that the update changes, what exists.
func mixedNetworks(in Input, good *api.Stack) []api.NetworkSpec {
	list := slices.Clone(in.Stack.Networks)
	for _, n := range good.Networks {
		at := slices.IndexFunc(list, func(o api.NetworkSpec) bool { return o.Name == n.Name })
		if at < 0 {
			list = append(list, n)
			continue
		}
		for _, o := range in.Observed.Networks {
			if o.Name == n.Name && ownsNetwork(in.Stack, o) && o.Labels[api.LabelSpecHash] == n.Hash() {
				list[at] = n
			}
		}
	}
	return list
}
