package desired

import (
	"context"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/desired/compose"
	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// Validate checks the whole repository for all nodes and returns warnings. The error is
// *Error with all problems, sorted by place. What goes wrong on only some of the nodes of
// a stack names them. Validate is safe for concurrent use.
func Validate(ctx context.Context, root string) ([]Problem, error) {
	t, err := openRepository(root)
	if err != nil {
		return nil, err
	}
	defer t.close() //nolint:errcheck // a folder that was only read
	t.load = new(compose.Loader).Load
	return t.validate(ctx)
}

func (t *tree) validate(ctx context.Context) ([]Problem, error) {
	r := &report{}
	v := &validation{tree: t, report: r, nodes: map[string]*node{}, stacks: map[string]*stack{}}
	f, fleetOK := t.readFleet(r)
	v.readNodes()
	v.readStacks()
	v.checkRoot()
	for _, name := range keysOf(v.nodes) {
		for i := range v.nodes[name].Spec.Stacks {
			t.stackExists(v.nodes[name], i, r)
		}
	}
	if fleetOK {
		v.checkWaves(f)
		v.build(ctx, f)
	}
	v.checkUnplaced()
	return r.result(ctx)
}

// Nodes returns the names of all nodes, sorted. Their files may be invalid.
func Nodes(ctx context.Context, root string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	t, err := openRepository(root)
	if err != nil {
		return nil, err
	}
	defer t.close() //nolint:errcheck // a folder that was only read
	entries, err := t.list(nodesFolder)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	names := []string{}
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry, nodeSuffix); ok && dnsLabel.MatchString(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

type validation struct {
	tree   *tree
	report *report
	nodes  map[string]*node
	stacks map[string]*stack
}

func (v *validation) fail(file, format string, args ...any) {
	v.report.add(Problem{File: file, Line: 1, Column: 1, Message: fmt.Sprintf(format, args...)})
}

func (v *validation) warn(file, format string, args ...any) {
	v.report.warn(Problem{File: file, Line: 1, Column: 1, Message: fmt.Sprintf(format, args...)})
}

// ignorable tells whether a file is one that people or tools put anywhere.
func ignorable(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(strings.ToLower(name), ".md") || strings.EqualFold(name, "LICENSE")
}

func (v *validation) readNodes() {
	entries, err := v.tree.list(nodesFolder)
	if err != nil {
		v.fail(nodesFolder, "%s", err)
	}
	for _, entry := range entries {
		file := path.Join(nodesFolder, entry)
		name, isYAML := strings.CutSuffix(entry, nodeSuffix)
		switch {
		case ignorable(entry):
		case strings.HasSuffix(entry, ".yml"):
			v.fail(file, "must be named %s%s", strings.TrimSuffix(entry, ".yml"), nodeSuffix)
		case !isYAML:
			v.warn(file, "is not a node: files here are named <node>%s", nodeSuffix)
		case !dnsLabel.MatchString(name):
			v.fail(file, `is not a name for a node: lower case letters, digits and "-" only, at most 63`)
		default:
			if n, ok := v.tree.readNode(name, v.report); ok {
				v.nodes[name] = n
			}
		}
	}
}

func (v *validation) readStacks() {
	entries, err := v.tree.list(stacksFolder)
	if err != nil {
		v.fail(stacksFolder, "%s", err)
	}
	for _, entry := range entries {
		name, isFolder := strings.CutSuffix(entry, "/")
		folder := path.Join(stacksFolder, entry)
		switch {
		case ignorable(name):
		case !isFolder:
			v.warn(folder, "is not a stack: a stack is a folder with a %s", stackFile)
		case !dnsLabel.MatchString(name):
			v.fail(folder, `is not a name for a stack: lower case letters, digits and "-" only, at most 63`)
		default:
			if s, ok := v.tree.readStack(name, v.report); ok {
				v.stacks[name] = s
			}
		}
	}
}

// checkRoot looks for misplaced and misspelt files at the top.
func (v *validation) checkRoot() {
	entries, err := v.tree.list(".")
	if err != nil {
		v.fail(".", "%s", err)
	}
	known := []string{fleetFile, nodesFolder, stacksFolder}
	for _, entry := range entries {
		name := strings.TrimSuffix(entry, "/")
		isYAML := strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
		switch hint := didYouMean(name, known); {
		case slices.Contains(known, name), ignorable(name):
		case hint != "":
			v.fail(name, "is not part of a desired state%s", hint)
		case isYAML:
			v.warn(name, "is ignored: only %s, %s/ and %s/ are read", fleetFile, nodesFolder, stacksFolder)
		}
	}
}

// build makes the slice of every node. A problem that all nodes of a stack share is told
// once; one that only some have is told with the node's name.
func (v *validation) build(ctx context.Context, f *fleet) {
	found := map[Problem][]string{}
	users := map[string]int{}
	names := keysOf(v.nodes)
	reports := v.buildAll(ctx, f, names)
	for i, name := range names {
		for _, stack := range v.nodes[name].stackNames() {
			users[path.Join(stacksFolder, stack)]++
		}
		v.report.warn(reports[i].warnings...)
		for _, p := range sorted(reports[i].problems) {
			found[p] = append(found[p], name)
		}
	}
	for p, names := range found {
		folder := strings.Join(strings.SplitN(p.File, "/", 3)[:min(2, strings.Count(p.File, "/")+1)], "/")
		if n, ok := users[folder]; ok && len(names) < n {
			p.Message += " (node " + strings.Join(names, ", ") + ")"
		}
		v.report.add(p)
	}
}

// buildAll builds all nodes, as many at a time as there are processors, and returns what
// was found for each.
func (v *validation) buildAll(ctx context.Context, f *fleet, names []string) []report {
	reports := make([]report, len(names))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range names {
		g.Go(func() error {
			if ctx.Err() == nil {
				b := &nodeBuild{tree: v.tree, fleet: f, node: v.nodes[name], stacks: v.stacks, report: &reports[i]}
				b.build(ctx)
			}
			return nil
		})
	}
	_ = g.Wait() // what is wrong is in the reports
	return reports
}

// checkUnplaced tells of stacks that no node has. Their Compose files can't be checked
// without a node's variables, but their syntax can.
func (v *validation) checkUnplaced() {
	for _, name := range keysOf(v.stacks) {
		placed := false
		for _, n := range v.nodes {
			placed = placed || slices.Contains(n.stackNames(), name)
		}
		if placed {
			continue
		}
		s := v.stacks[name]
		v.warn(s.doc.file, "no node has this stack: only the syntax of its Compose files is checked")
		for _, file := range s.Spec.Compose {
			v.checkSyntax(path.Join(s.folder, file))
		}
	}
}

func (v *validation) checkSyntax(file string) {
	data, err := v.tree.read(file)
	if err != nil {
		v.fail(file, "%s", err)
		return
	}
	if _, err := yamlpos.Parse(file, data); err != nil {
		v.report.addError(asError(err), Problem{File: file, Line: 1, Column: 1})
	}
}
