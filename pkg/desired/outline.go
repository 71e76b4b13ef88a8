package desired

import (
	"context"
	"fmt"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// Outline is what a repository says about its fleet without its Compose files.
type Outline struct {
	Fleet api.FleetFile
	// Nodes by name; a file that can't be decoded is left out.
	Nodes map[string]api.NodeFile
	// Stacks by name, likewise.
	Stacks map[string]api.StackFile
}

// ReadOutline reads fleet.yaml and the files of all nodes and stacks. The error is *Error when fleet.yaml
// can't be decoded. It does not validate what it reads. Safe for concurrent use.
func ReadOutline(ctx context.Context, root string) (*Outline, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read outline: %w", err)
	}
	t, err := openRepository(root)
	if err != nil {
		return nil, err
	}
	defer t.close() //nolint:errcheck // a folder that was only read
	r := &report{}
	f, ok := t.readFleet(r)
	if !ok {
		return nil, &Error{Problems: sorted(r.problems)}
	}
	out := &Outline{Fleet: f.FleetFile, Nodes: map[string]api.NodeFile{}, Stacks: map[string]api.StackFile{}}
	entries, err := t.list(nodesFolder)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	for _, entry := range entries {
		name, isYAML := strings.CutSuffix(entry, nodeSuffix)
		if !isYAML || !dnsLabel.MatchString(name) {
			continue
		}
		if n, ok := t.readNode(name, &report{}); ok {
			out.Nodes[name] = n.NodeFile
		}
	}
	return out, t.outlineStacks(out)
}

func (t *tree) outlineStacks(out *Outline) error {
	entries, err := t.list(stacksFolder)
	if err != nil {
		return fmt.Errorf("list stacks: %w", err)
	}
	for _, entry := range entries {
		name, isFolder := strings.CutSuffix(entry, "/")
		if !isFolder || !dnsLabel.MatchString(name) {
			continue
		}
		if s, ok := t.readStack(name, &report{}); ok {
			out.Stacks[name] = s.StackFile
		}
	}
	return nil
}
