package compose

import (
	"path"

	"go.yaml.in/yaml/v4"

	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// include replaces one entry by copies of the files that it names.
func (r *rewriter) include(at string, entry *yaml.Node) {
	files, options := r.includeEntry(entry)
	var names []string
	for _, file := range files {
		name, ok := r.locate(at, file)
		if !ok || r.cyclic(at, name) {
			return
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return // the schema says what is wrong with it
	}
	workdir := path.Dir(names[0])
	if dir := scalar(child(options, "project_directory")); dir != "" {
		located, ok := r.locate(at+".project_directory", dir)
		if !ok {
			return
		}
		workdir = located
	}
	variables, envFiles, ok := r.includeVariables(at, workdir, options)
	if !ok {
		return
	}
	into := origin{workdir: workdir, model: workdir, variables: variables, stack: r.from.stack, from: at}
	if copies, ok := r.includedCopies(at, names, into); ok {
		*entry = *includeNode(copies, envFiles, workdir)
		r.changed = true
	}
}

func (r *rewriter) includedCopies(at string, names []string, into origin) ([]string, bool) {
	var copies []string
	for _, name := range names {
		content, ok := r.stageFile(name, into)
		if !ok {
			return nil, false
		}
		file, err := r.keep(stagedCopy{name: name, dir: below(r.from.model, into.workdir)}, content)
		if err != nil {
			r.problem(at, "%v", err)
			return nil, false
		}
		copies = append(copies, file)
	}
	return copies, true
}

// includeEntry reads the short and the long form.
func (r *rewriter) includeEntry(entry *yaml.Node) (files []string, options *yaml.Node) {
	entry = resolved(entry)
	if entry == nil {
		return nil, nil
	}
	if entry.Kind == yaml.ScalarNode {
		return []string{entry.Value}, nil
	}
	return list(child(entry, "path")), entry
}

// includeVariables reads include.env_file. Compose reads the .env of the included folder
// as well; that is said, not done: nothing is read that nobody names.
func (r *rewriter) includeVariables(at, workdir string, options *yaml.Node) (*variables, []string, bool) {
	names := list(child(options, "env_file"))
	if len(names) == 0 {
		if _, err := r.repo.stat(path.Join(workdir, ".env")); err == nil {
			r.deferWarning(at, path.Join(workdir, ".env")+" is not read: name it in include.env_file if it is wanted")
		}
	}
	read := map[string]string{}
	var copies []string
	complete := true
	for i, file := range names {
		if file == "/dev/null" {
			continue
		}
		place := at + ".env_file"
		if r.index.Has(yamlpos.Item(place, i)) {
			place = yamlpos.Item(place, i)
		}
		name, ok := r.locate(place, file)
		if !ok {
			complete = false
			continue
		}
		kept, err := r.includeEnvFile(name, read)
		if err != nil {
			r.found.fail(place, err)
			complete = false
		}
		copies = append(copies, kept)
	}
	return r.from.variables.below(read), copies, complete
}

func (r *rewriter) includeEnvFile(name string, into map[string]string) (string, error) {
	data, err := r.repo.file(name)
	if err != nil {
		return "", err
	}
	r.from.variables.observe(data)
	if err := parseEnvFile(data, name, "", into, r.from.variables.get); err != nil {
		return "", err
	}
	return r.keep(stagedCopy{name: name}, data)
}

// includeNode is the long form. A relative project directory compose-go would look up on
// this machine, and an .env in it.
func includeNode(copies, envFiles []string, workdir string) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{
		textNode("path"), listNode(copies), textNode("env_file"), listNode(envFiles),
		textNode("project_directory"), textNode(virtualRoot() + workdir),
	}}
}

// extends points extends.file of a service to a copy.
func (r *rewriter) extends(at string, service *yaml.Node) {
	extends := resolved(child(resolved(service), "extends"))
	if extends == nil || r.done[extends] {
		return
	}
	r.done[extends] = true
	at += ".extends"
	file := resolved(child(extends, "file"))
	target := r.substituted(scalar(child(extends, "service")))
	if extends.Kind == yaml.ScalarNode {
		target = r.substituted(extends.Value)
	}
	if file == nil || file.Kind != yaml.ScalarNode {
		r.extend(r.index.File(), target)
		return
	}
	name, ok := r.locate(at+".file", file.Value)
	if !ok {
		return
	}
	r.extend(name, target)
	kept, ok := r.extendedCopy(at+".file", name)
	if ok {
		*file = *textNode(kept)
		r.changed = true
	}
}

func (r *rewriter) extend(file, service string) {
	if r.extended[file] == nil {
		r.extended[file] = map[string]bool{}
	}
	r.extended[file][service] = true
}

// extendedCopy stages a file once for each working directory. The name is known before
// the content, so that files that extend each other end in compose-go's cycle error.
func (r *rewriter) extendedCopy(at, name string) (string, bool) {
	key := r.from.model + "\x00" + name
	if kept, ok := r.bases[key]; ok {
		return kept, true
	}
	kept, err := r.reserve(stagedCopy{name: name, dir: below(r.from.model, path.Dir(name))})
	if err != nil {
		r.problem(at, "%v", err)
		return "", false
	}
	r.bases[key] = kept
	content, ok := r.stageFile(name, origin{
		workdir: path.Dir(name), model: r.from.model, variables: r.from.variables, base: true, stack: r.from.stack, from: at,
	})
	if !ok {
		return "", false
	}
	if err := r.fill(kept, content); err != nil {
		r.problem(at, "%v", err)
		return "", false
	}
	return kept, true
}

func scalar(node *yaml.Node) string {
	if node = resolved(node); node != nil && node.Kind == yaml.ScalarNode {
		return node.Value
	}
	return ""
}

// list reads a string or a list of strings.
func list(node *yaml.Node) []string {
	node = resolved(node)
	switch {
	case node == nil:
		return nil
	case node.Kind == yaml.ScalarNode:
		return []string{node.Value}
	}
	var out []string
	for _, item := range node.Content {
		out = append(out, scalar(item))
	}
	return out
}

func textNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: yaml.DoubleQuotedStyle}
}

func listNode(items []string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for _, item := range items {
		node.Content = append(node.Content, textNode(item))
	}
	return node
}
