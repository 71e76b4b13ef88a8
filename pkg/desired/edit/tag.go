package edit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/desired"
)

// Target says whose images get a tag.
type Target struct {
	// Stack is the name of a stack. Required.
	Stack string
	// Services are names of services of the stack. None means all services whose tag is made
	// by a variable, which must be one and the same.
	Services []string
	// Nodes limits the change to some nodes: the variable is set there. Empty means all nodes.
	Nodes []string
	// Along lets services that were not named change too when they run the very same image
	// as one that was. Without it they are refused, as are all others that share the variable.
	Along bool
}

// SetTag gives the images of a target's services a tag. Where the tag is a variable, the
// variable is set: for one node in the node's file, otherwise in stack.yaml, so that no other
// stack changes; nodes that override it there are told of in Notes. A tag that is written
// in a Compose file is changed there.
//
// It is an error (*desired.Error, with places) when services that were not asked for would
// change too, when a tag can't be set for one node alone, and when it can't be seen what makes
// the tag. Whether the tag exists is not asked.
func SetTag(root string, target Target, tag string) (Result, error) {
	if !tagName.MatchString(tag) {
		return Result{}, nonsense("%.200q is not a tag: letters, digits, _ . and - only, at most 128", tag)
	}
	w, err := open(root)
	if err != nil {
		return Result{}, err
	}
	defer w.root.Close() //nolint:errcheck // a folder that was only read
	nodes := target.Nodes
	if len(nodes) == 0 {
		nodes = []string{""}
	}
	var out Result
	for _, node := range nodes {
		// Each one anew: edits before may have moved lines.
		m, err := w.model(target.Stack)
		if err != nil {
			return Result{}, err
		}
		d := &deploy{workspace: w, model: m, target: target, on: node, tag: tag}
		if d.scopes, err = w.scopes(target.Stack, node); err != nil {
			return Result{}, err
		}
		services, notes, err := d.run()
		if err != nil {
			return Result{}, err
		}
		out.Services, out.Notes = append(out.Services, services...), append(out.Notes, notes...)
	}
	changed := w.result()
	if out.Edits = changed.Edits; len(out.Edits) == 0 {
		out.Services = nil
	}
	slices.Sort(out.Services)
	out.Services = slices.Compact(out.Services)
	return out, nil
}

type deploy struct {
	*workspace

	model  *model
	target Target
	on     string // a node; empty for all
	tag    string
	scopes []scope
}

// site is what has to change for some services.
type site struct {
	retag

	image    text
	services []string // asked for
}

// run makes the edits and returns the services that change.
func (d *deploy) run() ([]string, []desired.Problem, error) {
	sites, err := d.sites()
	if err != nil {
		return nil, nil, err
	}
	var changed []string
	var notes []desired.Problem
	for _, key := range slices.Sorted(maps.Keys(sites)) {
		s := sites[key]
		services, err := d.affected(s)
		if err != nil {
			return nil, nil, err
		}
		changed = append(changed, services...)
		more, err := d.apply(s, services)
		if err != nil {
			return nil, nil, err
		}
		notes = append(notes, more...)
	}
	return changed, notes, nil
}

// sites finds what makes the tags of the services that were asked for.
func (d *deploy) sites() (map[string]*site, error) {
	names := d.target.Services
	if len(names) == 0 {
		return d.onlySite()
	}
	sites := map[string]*site{}
	for _, name := range names {
		s, ok := d.model.services[name]
		if !ok {
			f, _, err := d.stack(d.target.Stack)
			if err != nil {
				return nil, err
			}
			return nil, fail(f.at(nil), "stack %s has no service %s: it has %s", d.target.Stack, name,
				strings.Join(slices.Sorted(maps.Keys(d.model.services)), ", "))
		}
		found, key, err := d.site(s)
		if err != nil {
			return nil, err
		}
		if err := add(sites, key, found, name); err != nil {
			return nil, err
		}
	}
	return sites, nil
}

// add refuses a variable that would need two values for one tag.
func add(sites map[string]*site, key string, found site, name string) error {
	if sites[key] == nil {
		sites[key] = &found
	}
	s := sites[key]
	if s.value != found.value {
		return fail(found.image.at, "services.%s.image: makes its tag of ${%s} in another way than %s: deploy one after the other with variables of their own",
			name, s.variable, strings.Join(s.services, ", "))
	}
	s.services = append(s.services, name)
	return nil
}

// onlySite is the one variable that makes tags of a stack.
func (d *deploy) onlySite() (map[string]*site, error) {
	sites := map[string]*site{}
	var of []string
	for _, name := range slices.Sorted(maps.Keys(d.model.services)) {
		s := d.model.services[name]
		found, key, err := d.site(s)
		if err != nil || found.variable == "" {
			continue
		}
		if err := add(sites, key, found, name); err != nil {
			return nil, err
		}
		of = append(of, name+" (${"+found.variable+"})")
	}
	f, _, err := d.stack(d.target.Stack)
	switch {
	case err != nil:
		return nil, err
	case len(sites) == 0:
		return nil, fail(f.at(nil), "no service of stack %s has a tag that is made by a variable: name the services", d.target.Stack)
	case len(sites) > 1:
		return nil, fail(f.at(nil), "the tags of stack %s are made by several variables: name the services out of %s", d.target.Stack, strings.Join(of, ", "))
	}
	return sites, nil
}

// site is what makes the tag of one service. The key tells equal ones.
func (d *deploy) site(s *service) (found site, key string, err error) {
	if s.image == nil {
		f, _, err := d.stack(d.target.Stack)
		if err != nil {
			return site{}, "", err
		}
		return site{}, "", fail(f.at(nil), "services.%s has no image", s.name)
	}
	found.image = *s.image
	found.retag, err = tagged(s.image.value, d.tag, d.lookup, 0)
	if err != nil {
		return site{}, "", fail(s.image.at, "services.%s.image: %v", s.name, err)
	}
	if found.variable != "" {
		return found, "variable " + found.variable, nil
	}
	return found, fmt.Sprintf("text %s:%d:%d", s.image.at.File, s.image.at.Line, s.image.at.Column), nil
}

// affected are all services that a change of a site changes. The error names those that
// nobody asked for.
func (d *deploy) affected(s *site) ([]string, error) {
	var all, extra []string
	same := true
	closure := d.closure(s.variable)
	for _, name := range slices.Sorted(maps.Keys(d.model.services)) {
		other := d.model.services[name]
		if !s.changes(other, closure) {
			continue
		}
		all = append(all, name)
		if !slices.Contains(s.services, name) {
			extra = append(extra, name)
			same = same && other.image != nil && other.image.value == s.image.value
		}
	}
	for _, at := range slices.Sorted(maps.Keys(d.model.others)) {
		if s.variable != "" && slices.ContainsFunc(d.model.others[at], func(t text) bool { return uses(t.value, closure) }) {
			extra, same = append(extra, at), false
		}
	}
	if len(extra) == 0 || same && d.target.Along {
		return all, nil
	}
	asked, others := strings.Join(s.services, ", "), strings.Join(extra, ", ")
	fix := "name them too, or give " + asked + " something of its own in " + s.image.at.File
	if s.variable == "" {
		return nil, fail(s.image.at, "the image of %s is also that of %s: %s", asked, others, fix)
	}
	return nil, fail(s.image.at, "the tag of %s is ${%s}, which %s uses as well: %s", asked, s.variable, others, fix)
}

func (s *site) changes(other *service, closure map[string]bool) bool {
	if s.variable == "" {
		return other.image != nil && other.image.at == s.image.at
	}
	return slices.ContainsFunc(other.texts, func(t text) bool { return uses(t.value, closure) })
}

// closure is a variable with all that the target's scopes make of it.
func (d *deploy) closure(variable string) map[string]bool {
	names := map[string]bool{variable: true}
	if variable == "" {
		return names
	}
	for before := 0; before != len(names); {
		before = len(names)
		for _, s := range d.scopes {
			for name, value := range entries(s.values()) {
				if uses(scalar(value), names) {
					names[name] = true
				}
			}
		}
	}
	return names
}

// apply writes one site.
func (d *deploy) apply(s *site, services []string) ([]desired.Problem, error) {
	what := oneLine(d.target.Stack, strings.Join(services, " "), "to", d.tag)
	if s.variable != "" {
		return d.set(s, "deploy "+what)
	}
	if d.on != "" {
		return nil, fail(s.image.at, "the tag of %s is written here for all nodes: write ${IMAGE_TAG} in its place and set the variable in stacks/%s/stack.yaml",
			strings.Join(s.services, ", "), d.target.Stack)
	}
	if s.image.value == s.text {
		return nil, nil
	}
	node, err := s.image.find()
	if err != nil {
		return nil, err
	}
	return nil, s.image.file.setScalar(node, s.text, "deploy "+what)
}
