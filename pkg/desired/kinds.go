package desired

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// Files and folders of a repository.
const (
	fleetFile    = "fleet.yaml"
	nodesFolder  = "nodes"
	stacksFolder = "stacks"
	stackFile    = "stack.yaml"
	nodeSuffix   = ".yaml"
)

type fleet struct {
	api.FleetFile
	doc *document
}

type node struct {
	api.NodeFile
	doc *document
}

type stack struct {
	api.StackFile
	doc    *document
	folder string
}

// open reads and decodes a file of a kind. False means that there is nothing to check.
func (t *tree) open(name string, into any, r *report) (*document, bool) {
	data, err := t.read(name)
	if err != nil {
		r.add(Problem{File: name, Line: 1, Column: 1, Message: err.Error()})
		return nil, false
	}
	before := len(r.problems)
	doc := decode(name, data, into, r)
	return doc, len(doc.places) > 1 || len(r.problems) == before
}

func (t *tree) readFleet(r *report) (*fleet, bool) {
	f := &fleet{}
	doc, ok := t.open(fleetFile, &f.FleetFile, r)
	if !ok {
		return nil, false
	}
	f.doc = doc
	doc.header(f.Header, api.KindFleet, "")
	doc.checkVariables("spec.variables", f.Spec.Variables)
	doc.checkNames("spec.plaintextAllowed", f.Spec.PlaintextAllowed)
	f.checkRegistries()
	f.checkRollout()
	doc.checkPlaintext("spec.variables", f.Spec.Variables, f.Spec.PlaintextAllowed)
	return f, true
}

func (f *fleet) checkRegistries() {
	seen := map[string]bool{}
	for i, registry := range f.Spec.Registries {
		at := fmt.Sprintf("spec.registries[%d]", i)
		switch {
		case !hostPort.MatchString(registry.Host):
			f.doc.problem(at+".host", `must be a host as it stands in image names, such as "ghcr.io"`)
		case seen[registry.Host]:
			f.doc.problem(at+".host", "is there twice")
		}
		seen[registry.Host] = true
		if registry.Password != "" && !api.IsReference(registry.Password) {
			f.doc.problem(at+".password", "must be a secret reference such as op://vault/item/field, not a value")
		}
		for field, value := range map[string]string{"password": registry.Password, "username": registry.Username} {
			if _, err := placeholders(value); err != nil {
				f.doc.problem(at+"."+field, "%s", err)
			}
		}
		if registry.Username != "" && registry.Password == "" {
			f.doc.problem(at, "has a username but no password")
		}
	}
}

// registries returns the logins, sorted by host.
func (f *fleet) registries() []api.Registry {
	var out []api.Registry
	for _, spec := range f.Spec.Registries {
		// Malformed references were reported by checkRegistries.
		username, _ := placeholders(spec.Username)
		password, _ := placeholders(spec.Password)
		out = append(out, api.Registry{Host: spec.Host, Username: username, Password: password})
	}
	slices.SortFunc(out, func(x, y api.Registry) int { return strings.Compare(x.Host, y.Host) })
	return out
}

func (t *tree) readNode(name string, r *report) (*node, bool) {
	n := &node{}
	doc, ok := t.open(path.Join(nodesFolder, name+nodeSuffix), &n.NodeFile, r)
	if !ok {
		return nil, false
	}
	n.doc = doc
	doc.header(n.Header, api.KindNode, name)
	if n.Spec.Hostname != "" && (!dnsName.MatchString(n.Spec.Hostname) || len(n.Spec.Hostname) > 253) {
		doc.problem("spec.hostname", "is not a host name")
	}
	if n.Spec.Capacity.CPUs < 0 {
		doc.problem("spec.capacity.cpus", "must not be negative")
	}
	doc.checkVariables("spec.variables", n.Spec.Variables)
	doc.checkNames("spec.plaintextAllowed", n.Spec.PlaintextAllowed)
	doc.checkPlaintext("spec.variables", n.Spec.Variables, n.Spec.PlaintextAllowed)
	doc.checkMounts("spec.mounts", n.Spec.Mounts)
	doc.checkBackups(n.Spec.Backups)
	for _, pool := range keysOf(n.Spec.Scale) {
		if n.Spec.Scale[pool] < 0 {
			doc.problem("spec.scale."+pool, "must not be negative")
		}
	}
	n.checkStacks()
	return n, true
}

// stackNames returns the names of the node's stacks, sorted, each once.
func (n *node) stackNames() []string {
	var names []string
	for _, placed := range n.Spec.Stacks {
		names = append(names, placed.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (n *node) checkStacks() {
	seen := map[string]bool{}
	for i, placed := range n.Spec.Stacks {
		at := fmt.Sprintf("spec.stacks[%d]", i)
		if !dnsLabel.MatchString(placed.Name) {
			n.doc.problem(at+".name", "is not the name of a stack")
		} else if seen[placed.Name] {
			n.doc.problem(at+".name", "stack %s is on this node already", placed.Name)
		}
		seen[placed.Name] = true
		n.doc.checkVariables(at+".variables", placed.Variables)
		n.doc.checkPlaintext(at+".variables", placed.Variables, n.Spec.PlaintextAllowed)
	}
}

func (t *tree) readStack(name string, r *report) (*stack, bool) {
	s := &stack{folder: path.Join(stacksFolder, name)}
	doc, ok := t.open(path.Join(s.folder, stackFile), &s.StackFile, r)
	if !ok {
		return nil, false
	}
	s.doc = doc
	doc.header(s.Header, api.KindStack, name)
	s.Header.Metadata.Name = name
	if len(s.Spec.Compose) == 0 {
		s.Spec.Compose = []string{"compose.yaml"}
	}
	for i, file := range s.Spec.Compose {
		if path.IsAbs(file) || path.Clean(file) != file || strings.HasPrefix(file, "..") || file == "." {
			doc.problem(fmt.Sprintf("spec.compose[%d]", i), "must be a clean path below the stack's folder")
		}
	}
	doc.checkVariables("spec.variables", s.Spec.Variables)
	doc.checkNames("spec.plaintextAllowed", s.Spec.PlaintextAllowed)
	doc.checkPlaintext("spec.variables", s.Spec.Variables, s.Spec.PlaintextAllowed)
	doc.checkRules("spec.contract", s.Spec.Contract)
	doc.checkMounts("spec.mounts", s.Spec.Mounts)
	doc.checkBackups(s.Spec.Backups)
	s.checkDelivery()
	s.checkPools()
	s.checkPolicies()
	return s, true
}

func (s *stack) name() string { return s.Metadata.Name }

func (s *stack) checkDelivery() {
	switch s.Spec.Delivery {
	case "", api.DeliveryFiles:
		s.Spec.Delivery = ""
	case api.DeliveryEnv:
		s.doc.warning("spec.delivery", "secrets of this stack are readable by `docker inspect` and stay on Docker's disk")
	default:
		s.doc.problem("spec.delivery", "must be %s or %s", api.DeliveryFiles, api.DeliveryEnv)
	}
}
