package desired

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/compose"
)

// hostFolder holds the folders that Compose's labels name for stacks without a working
// directory of their own. Labels must not change with the revision.
const hostFolder = "/var/lib/ktrdr/stacks"

// nodeBuild makes the slice of one node. It belongs to one goroutine.
type nodeBuild struct {
	tree   *tree
	fleet  *fleet
	node   *node
	stacks map[string]*stack
	report *report
	// visit is compose.Request.Visit; nil tells nobody.
	visit func(name string)
	// vars are those of the node itself; nil where nothing uses them.
	vars *variables
}

func (b *nodeBuild) name() string {
	return strings.TrimSuffix(path.Base(b.node.doc.file), nodeSuffix)
}

// build reads the Compose files of all stacks of the node and checks them together.
func (b *nodeBuild) build(ctx context.Context) *api.Desired {
	desired := &api.Desired{Node: b.name(), Registries: b.fleet.registries()}
	var builds []*stackBuild
	for i, placed := range b.node.Spec.Stacks {
		s, ok := b.stacks[placed.Name]
		if !ok || ctx.Err() != nil || slices.ContainsFunc(b.node.Spec.Stacks[:i], func(p api.NodeStack) bool { return p.Name == placed.Name }) {
			continue
		}
		build := b.stackBuild(s, i)
		if build.build(ctx) {
			desired.Stacks = append(desired.Stacks, build.out)
			builds = append(builds, build)
		}
	}
	desired.Backups = b.backups()
	b.checkPoolNames()
	b.checkNodeVariables(builds)
	b.checkTogether(builds)
	slices.SortFunc(desired.Stacks, func(x, y api.Stack) int { return strings.Compare(x.Name, y.Name) })
	return desired
}

// checkPoolNames refuses a scale for a pool that the node does not have, or has twice.
func (b *nodeBuild) checkPoolNames() {
	pools := map[string][]string{}
	for _, placed := range b.node.Spec.Stacks {
		if s, ok := b.stacks[placed.Name]; ok {
			for _, pool := range keysOf(s.Spec.Pools) {
				pools[pool] = append(pools[pool], s.name())
			}
		}
	}
	for _, name := range keysOf(b.node.Spec.Scale) {
		at := "spec.scale." + name
		switch owners := pools[name]; {
		case len(owners) == 0:
			b.node.doc.problem(at, "no stack of this node has this pool%s", didYouMean(name, keysOf(pools)))
		case len(owners) > 1:
			b.node.doc.problem(at, "stacks %s all have this pool: rename one", strings.Join(owners, " and "))
		}
	}
}

// checkNodeVariables warns of variables of the node that no stack uses.
func (b *nodeBuild) checkNodeVariables(builds []*stackBuild) {
	missing := map[string]bool{}
	for _, build := range builds {
		for name := range build.vars.missing {
			missing[name] = true
		}
	}
	for _, name := range keysOf(b.node.Spec.Variables) {
		used := func(build *stackBuild) bool { return build.vars.used[name] || build.isRuled(name) }
		if b.vars != nil && b.vars.used[name] || len(builds) < len(b.node.Spec.Stacks) || slices.ContainsFunc(builds, used) {
			continue
		}
		if hint := didYouMean(name, keysOf(missing)); hint != "" {
			b.node.doc.problem("spec.variables."+name, "no stack of this node uses this variable%s", hint)
			continue
		}
		b.node.doc.warning("spec.variables."+name, "no stack of this node uses this variable")
	}
}

// stackBuild makes one stack of a node.
type stackBuild struct {
	node    *nodeBuild
	stack   *stack
	placed  api.NodeStack
	path    string // of placed in the node's file
	vars    *variables
	files   *composeFiles
	project string
	out     api.Stack
	// unresolvable says that references of the Compose files were refused where they stand.
	unresolvable bool
}

func (b *nodeBuild) stackBuild(s *stack, i int) *stackBuild {
	build := &stackBuild{node: b, stack: s, placed: b.node.Spec.Stacks[i], path: fmt.Sprintf("spec.stacks[%d]", i)}
	build.vars = newVariables(b.report,
		scope{doc: b.fleet.doc, path: "spec.variables", values: b.fleet.Spec.Variables},
		scope{doc: s.doc, path: "spec.variables", values: s.Spec.Variables, closed: true},
		scope{doc: b.node.doc, path: "spec.variables", values: b.node.Spec.Variables},
		scope{doc: b.node.doc, path: build.path + ".variables", values: build.placed.Variables, closed: true},
	)
	build.vars.set(map[string]string{varNodeName: b.name(), varStack: s.name()})
	// Without a hostname ${NODE_HOSTNAME} stays unset, so that using it is an error.
	if b.node.Spec.Hostname != "" {
		build.vars.set(map[string]string{varNodeHostname: b.node.Spec.Hostname})
	}
	files := make([]string, len(s.Spec.Compose))
	for i, file := range s.Spec.Compose {
		files[i] = path.Join(s.folder, file)
	}
	build.files = &composeFiles{tree: b.tree, files: files}
	return build
}

func (b *stackBuild) fail(at Problem, format string, args ...any) {
	at.Message = fmt.Sprintf(format, args...)
	b.node.report.add(at)
}

// build fills out. False means that the Compose files could not be read.
func (b *stackBuild) build(ctx context.Context) bool {
	b.identify()
	b.checkScale()
	b.out.Contract = b.checkContract()
	b.checkReserved()
	if !b.checkTemplates() {
		return false
	}
	project, ok := b.load(ctx, b.noSlot(), b.enabled())
	if !ok {
		b.vars.checkUnused(b.isRuled)
		return false
	}
	b.node.report.warn(project.Warnings...)
	for _, p := range project.Secrets {
		if p.Plaintext == "" || !b.plaintextAllowed(p.Plaintext) {
			b.node.report.add(p.Problem)
		}
		b.unresolvable = b.unresolvable || p.Plaintext == ""
	}
	known := slices.Clone(project.Disabled)
	for i := range project.Services {
		known = append(known, project.Services[i].Name)
	}
	slices.Sort(known)
	b.checkServiceNames(known)
	b.applyPools(ctx, project)
	for i := range project.Services {
		b.applyPolicy(&project.Services[i])
	}
	b.out.Contract = settle(b.out.Contract)
	b.out.Services, b.out.Networks, b.out.Volumes = project.Services, project.Networks, project.Volumes
	b.out.Mounts, b.out.Backups = b.mounts(), b.backups()
	b.out.Delivery = b.stack.Spec.Delivery
	b.out.Digest = b.out.SumDigest()
	b.vars.checkUnused(b.isRuled)
	return true
}

// isRuled tells whether a rule of the contract names the variable: it counts as used.
func (b *stackBuild) isRuled(name string) bool {
	return slices.ContainsFunc(b.stack.Spec.Contract, func(r api.VariableRule) bool { return r.Name == name })
}

// identify settles what the project is called and where it lives on the host.
func (b *stackBuild) identify() {
	at, text := b.stack.doc.at("spec.project"), orDefault(b.stack.Spec.Project, b.stack.name())
	if b.placed.Project != "" {
		at, text = b.node.node.doc.at(b.path+".project"), b.placed.Project
	}
	b.project = b.vars.expand(text, at)
	if !projectName.MatchString(b.project) {
		b.fail(at, `is not a Compose project name: lower case letters, digits, "-" and "_" only, a letter or digit first`)
	}
	b.vars.set(map[string]string{varProject: b.project, varComposeName: b.project})
	b.out.Name, b.out.Project = b.stack.name(), b.project
	b.out.WorkingDir = path.Join(hostFolder, b.stack.name())
	if text := b.stack.Spec.WorkingDirectory; text != "" {
		b.out.WorkingDir = b.hostPath(text, b.stack.doc.at("spec.workingDirectory"))
	}
	for _, file := range b.stack.Spec.Compose {
		b.out.ConfigFiles = append(b.out.ConfigFiles, path.Join(b.out.WorkingDir, file))
	}
	for i, text := range b.stack.Spec.AdoptFrom {
		b.adopt(b.hostPath(text, b.stack.doc.at(fmt.Sprintf("spec.adoptFrom[%d]", i))))
	}
	for i, text := range b.placed.AdoptFrom {
		b.adopt(b.hostPath(text, b.node.node.doc.at(fmt.Sprintf("%s.adoptFrom[%d]", b.path, i))))
	}
}

func (b *stackBuild) adopt(dir string) {
	if !slices.Contains(b.out.AdoptFrom, dir) {
		b.out.AdoptFrom = append(b.out.AdoptFrom, dir)
	}
}

func (b *stackBuild) hostPath(text string, at Problem) string {
	value := b.vars.expand(text, at)
	if fault := absoluteFault(value); fault != "" {
		b.fail(at, "%s", fault)
	}
	return value
}

// checkReserved refuses variables that a template's slots would hide.
func (b *stackBuild) checkReserved() {
	for name := range b.noSlot() {
		if found, ok := b.vars.definition(name); ok {
			b.fail(found.at(name), "is a built-in variable of stack %s, which has a pool with a template: choose another name", b.stack.name())
		}
	}
}

// load runs the Compose files through the loader with further built-in variables.
func (b *stackBuild) load(ctx context.Context, builtins map[string]string, enable []string) (*compose.Project, bool) {
	b.vars.set(builtins)
	request := compose.Request{
		Root: b.node.tree.dir, Dir: b.stack.folder, Files: b.files.files, Project: b.project,
		Profiles: b.stack.Spec.Profiles, Enable: enable, Lookup: b.vars.lookup, Delivery: b.stack.Spec.Delivery, Visit: b.node.visit,
	}
	if b.stack.Spec.WorkingDirectory != "" {
		request.WorkingDirectory = b.out.WorkingDir
	}
	project, err := b.node.tree.load(ctx, request)
	if err != nil {
		b.node.report.addError(err, Problem{File: b.files.files[0], Line: 1, Column: 1})
		return nil, false
	}
	return project, true
}

// applyPolicy adds what stack.yaml says about a service.
func (b *stackBuild) applyPolicy(service *api.Service) {
	policy := b.stack.Spec.Services[service.Name]
	if probe := probeOf(policy.Probe); probe != nil {
		service.Probe = probe
	}
	if policy.Job != nil {
		service.Job = *policy.Job
	}
	if protection := policy.Protection; protection != nil {
		service.Protection.DataPaths = protection.DataPaths
		service.Protection.MaxWritableLayer = int64(protection.MaxWritableLayer)
	}
	b.out.Contract = append(b.out.Contract, b.checkEnvironment(service, policy.Environment)...)
	b.checkSecrets(service)
	b.checkDelivered(service)
	b.applyRotation(service, policy.Rotation)
	b.applyRegistration(service, policy.Registration)
}
