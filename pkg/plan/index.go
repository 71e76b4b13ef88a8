package plan

import (
	"slices"
	"strconv"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// ownership says whose a container is.
type ownership int

const (
	foreign   ownership = iota // never touched
	ours                       // created or adopted by the agent
	adoptable                  // created by Compose from a directory that the stack names
)

// Owner reports whether a container belongs to the stack. A container of the same
// project from a directory that the stack does not name is foreign, and so are
// one-off containers of `docker compose run`.
func owner(stack *api.Stack, c *api.Container) ownership {
	if c.Labels[api.LabelProject] != stack.Project || c.Labels[api.LabelService] == "" {
		return foreign
	}
	if strings.EqualFold(c.Labels[api.LabelOneoff], "true") {
		return foreign
	}
	if c.Labels[api.LabelStack] == stack.Name {
		return ours
	}
	if c.Labels[api.LabelStack] != "" {
		return foreign
	}
	if slices.Contains(stack.AdoptFrom, c.Labels[api.LabelWorkingDir]) {
		return adoptable
	}
	return foreign
}

// Owns tells whether a container is the stack's: made or adopted by the agent, or to be
// adopted.
func Owns(stack *api.Stack, c *api.Container) bool { return owner(stack, c) != foreign }

// indexContainers sorts only what is of the stack's project: a node has many stacks.
func (b *builder) indexContainers() {
	project := map[string]*api.Container{}
	for id, c := range b.obs.Containers {
		if old := b.byName[c.Name]; old == nil || newestFirst(old, c) < 0 {
			b.byName[c.Name] = c
		}
		if c.Labels[api.LabelProject] == b.stack.Project {
			project[id] = c
		}
	}
	for _, c := range sortedContainers(project) {
		if owner(b.stack, c) == foreign {
			continue
		}
		key := slotKey{c.Labels[api.LabelService], number(c)}
		b.owned[key] = append(b.owned[key], c)
	}
}

// number is Compose's number of a container.
func number(c *api.Container) int {
	n, err := strconv.Atoi(c.Labels[api.LabelNumber])
	if err != nil {
		return 1
	}
	return n
}

// sortedContainers returns the newest first, ties by id: map order must not matter.
func sortedContainers(m map[string]*api.Container) []*api.Container {
	list := make([]*api.Container, 0, len(m))
	for _, c := range m {
		list = append(list, c)
	}
	slices.SortFunc(list, newestFirst)
	return list
}

func newestFirst(a, b *api.Container) int {
	if n := b.Created.Compare(a.Created); n != 0 {
		return n
	}
	return strings.Compare(a.ID, b.ID)
}

// startOrder sorts services so that each comes after what it depends on; ties are by
// name. Validation refuses cycles; should one come here, its members keep name order.
func startOrder(services []api.Service) []*api.Service {
	byName := map[string]*api.Service{}
	names := make([]string, 0, len(services))
	for i := range services {
		byName[services[i].Name] = &services[i]
		names = append(names, services[i].Name)
	}
	slices.Sort(names)
	var order []*api.Service
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		svc := byName[name]
		if svc == nil || seen[name] {
			return
		}
		seen[name] = true
		for _, dep := range svc.DependsOn {
			visit(dep.Service)
		}
		order = append(order, svc)
	}
	for _, name := range names {
		visit(name)
	}
	return order
}
