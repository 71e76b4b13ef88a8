package edit

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Scale asks for a number of slots.
type Scale struct {
	// Node and Pool are names.
	Node, Pool string
	// Size is the number of slots that shall run, 0 for none.
	Size int
}

// SetScale writes spec.scale.<pool> of nodes, and the ports of slots that a template with
// nextPort did not have so far. Whether the pools hold so many slots and the
// nodes have room for all of them is for desired.Validate to tell. The error is *desired.Error
// with the place of what is in the way.
func SetScale(root string, scales ...Scale) (Result, error) {
	w, err := open(root)
	if err != nil {
		return Result{}, err
	}
	defer w.root.Close() //nolint:errcheck // a folder that was only read
	for _, s := range scales {
		if err := w.setScale(s); err != nil {
			return Result{}, err
		}
	}
	return w.result(), nil
}

func (w *workspace) setScale(s Scale) error {
	f, spec, err := w.node(s.Node)
	if err != nil {
		return err
	}
	if err := w.checkPool(f, spec, s); err != nil {
		return err
	}
	stacks := stacksOf(spec)
	if err := w.scale(f, spec, s); err != nil {
		return err
	}
	return w.grow(stacks, s)
}

func (w *workspace) scale(f *file, spec *yaml.Node, s Scale) error {
	size := strconv.Itoa(s.Size)
	key, scale := pair(spec, "scale")
	switch {
	case key == nil:
		return f.addPair(spec, []string{"scale", s.Pool}, size, fmt.Sprintf("scale %s=%s on node %s", s.Pool, size, s.Node))
	case isNull(scale):
		return f.fill(spec, addition{"scale", []string{s.Pool}, size}, fmt.Sprintf("scale %s=%s on node %s", s.Pool, size, s.Node))
	}
	name, old := pair(scale, s.Pool)
	switch {
	case name == nil:
		return f.addPair(scale, []string{s.Pool}, size, fmt.Sprintf("scale %s=%s on node %s", s.Pool, size, s.Node))
	case scalar(old) == size:
		return nil
	}
	return f.setScalar(old, size, fmt.Sprintf("scale %s=%s on node %s (was %s)", s.Pool, size, s.Node, scalar(old)))
}

// node returns a node's file and its spec.
func (w *workspace) node(name string) (*file, *yaml.Node, error) {
	if !dnsLabel.MatchString(name) {
		return nil, nil, nonsense("%.80q is not the name of a node", name)
	}
	const folder, suffix = "nodes/", ".yaml"
	if !w.exists(folder + name + suffix) {
		return nil, nil, w.unknown("node", name, folder, suffix)
	}
	return w.spec(folder + name + suffix)
}

// stack returns a stack's file and its spec.
func (w *workspace) stack(name string) (*file, *yaml.Node, error) {
	if !dnsLabel.MatchString(name) {
		return nil, nil, nonsense("%.80q is not the name of a stack", name)
	}
	const folder, suffix = "stacks/", "/stack.yaml"
	if !w.exists(folder + name + suffix) {
		return nil, nil, w.unknown("stack", name, folder, suffix)
	}
	return w.spec(folder + name + suffix)
}

func (w *workspace) spec(name string) (*file, *yaml.Node, error) {
	f, err := w.load(name)
	if err != nil {
		return nil, nil, err
	}
	_, spec := pair(f.top, "spec")
	if spec == nil || spec.Kind != yaml.MappingNode {
		return nil, nil, fail(f.at(f.top), "has no spec that can be edited: write spec as a mapping")
	}
	return f, spec, nil
}

func (w *workspace) checkPool(f *file, spec *yaml.Node, s Scale) error {
	if s.Size < 0 {
		return fail(f.at(spec), "a scale of %d makes no sense: it must be 0 or more", s.Size)
	}
	var pools []string
	for _, stack := range stacksOf(spec) {
		_, stackSpec, err := w.stack(stack)
		if err != nil {
			return err
		}
		for name := range entries(child(stackSpec, "pools")) {
			pools = append(pools, name)
		}
	}
	slices.Sort(pools)
	switch {
	case slices.Contains(pools, s.Pool):
		return nil
	case len(pools) == 0:
		return fail(f.at(spec), "no stack of node %s has a pool that could be scaled", s.Node)
	}
	return fail(f.at(spec), "no stack of node %s has pool %s: it has %s", s.Node, s.Pool, strings.Join(pools, ", "))
}

// stacksOf are the names of a node's stacks.
func stacksOf(spec *yaml.Node) []string {
	var names []string
	if list := child(spec, "stacks"); list != nil {
		for _, item := range list.Content {
			names = append(names, scalar(child(item, "name")))
		}
	}
	return names
}
