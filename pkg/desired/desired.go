package desired

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/compose"
)

// Request names a repository and a node of it.
type Request struct {
	// Root is the absolute folder of the repository's tree. Nothing may change it while
	// it is read.
	Root string
	// Node is the name of the node: the file nodes/<Node>.yaml.
	Node string
	// Revision is written into the result as it is.
	Revision string
}

// Load returns the desired state of one node, and warnings. Only fleet.yaml, the node's
// file and the stacks that run on it are looked at: a mistake elsewhere does not concern
// the node. The error is *Error with all problems, sorted by place, or says that the
// repository can't be read or that ctx ended. Load is safe for concurrent use.
func Load(ctx context.Context, req Request) (*api.Desired, []Problem, error) {
	t, err := openRepository(req.Root)
	if err != nil {
		return nil, nil, err
	}
	defer t.close() //nolint:errcheck // a folder that was only read
	r := &report{}
	if !dnsLabel.MatchString(req.Node) {
		return nil, nil, fmt.Errorf("load desired state: %q is not the name of a node", req.Node)
	}
	f, fleetOK := t.readFleet(r)
	n, nodeOK := t.readNode(req.Node, r)
	var desired *api.Desired
	if nodeOK {
		stacks := map[string]*stack{}
		for i, placed := range n.Spec.Stacks {
			if t.stackExists(n, i, r) {
				if s, ok := t.readStack(placed.Name, r); ok {
					stacks[placed.Name] = s
				}
			}
		}
		if fleetOK {
			desired = (&nodeBuild{tree: t, fleet: f, node: n, stacks: stacks, report: r}).build(ctx)
		}
	}
	warnings, err := r.result(ctx)
	if err != nil {
		return nil, warnings, err
	}
	desired.Revision, desired.Root = req.Revision, req.Root
	return desired, warnings, nil
}

// Prepare does what the first Load would do once: most of a tenth of a second goes into the
// schema of Compose files. Calling it is optional. The error is a defect of this program,
// which every Load would tell as well.
func Prepare() error { return compose.Prepare() }

func openRepository(root string) (*tree, error) {
	if !filepath.IsAbs(root) {
		return nil, fmt.Errorf("open desired state: %q is not an absolute path", root)
	}
	return openTree(root)
}

// stackExists reports a stack of a node that the repository does not have.
func (t *tree) stackExists(n *node, i int, r *report) bool {
	name := n.Spec.Stacks[i].Name
	if !dnsLabel.MatchString(name) {
		return false
	}
	if t.isFolder(stacksFolder + "/" + name) {
		return true
	}
	entries, err := t.list(stacksFolder)
	if err != nil {
		r.add(Problem{File: stacksFolder, Line: 1, Column: 1, Message: err.Error()})
		return false
	}
	for j := range entries {
		entries[j] = strings.TrimSuffix(entries[j], "/")
	}
	n.doc.problem(fmt.Sprintf("spec.stacks[%d].name", i), "there is no stack %s%s", name, didYouMean(name, entries))
	return false
}
