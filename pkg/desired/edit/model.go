package edit

import (
	"fmt"
	"iter"
	"path"
	"slices"

	"go.yaml.in/yaml/v4"

	"ktrdr.io/fleet/pkg/desired"
)

// maxFiles bounds how many files one stack's Compose files include and extend.
const maxFiles = 100

// text is one text of a Compose file that may use variables.
type text struct {
	at    desired.Problem
	file  *file
	node  *yaml.Node
	value string
}

// service is what the Compose files of a stack say about one service.
type service struct {
	name  string
	image *text
	texts []text
}

// model is what is known of the Compose files of a stack, without variables.
type model struct {
	w        *workspace
	stack    string
	services map[string]*service
	// others are texts outside of services, by where they stand.
	others map[string][]text
	read   map[string]bool
}

// model reads a stack's Compose files and what they include and extend.
func (w *workspace) model(stack string) (*model, error) {
	f, spec, err := w.stack(stack)
	if err != nil {
		return nil, err
	}
	m := &model{w: w, stack: stack, services: map[string]*service{}, others: map[string][]text{}, read: map[string]bool{}}
	for _, key := range []string{"project", "workingDirectory", "adoptFrom", "mounts"} {
		m.others["spec."+key+" of "+f.name] = textsOf(f, child(spec, key))
	}
	files := stringsOf(child(spec, "compose"))
	if len(files) == 0 {
		files = []string{"compose.yaml"}
	}
	for _, name := range files {
		if err := m.file(path.Join("stacks", stack, name)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *model) file(name string) error {
	if m.read[name] {
		return nil
	}
	if m.read[name] = true; len(m.read) > maxFiles {
		return fmt.Errorf("edit stack %s: its Compose files name more than %d others", m.stack, maxFiles)
	}
	f, err := m.w.load(name)
	if err != nil || f.top == nil {
		return err
	}
	if list := child(f.top, "include"); list != nil {
		for _, entry := range list.Content {
			if err := m.include(f, entry); err != nil {
				return err
			}
		}
	}
	for section, value := range entries(f.top) {
		switch section {
		case "services":
			for name, node := range entries(value) {
				if err := m.service(f, name, node); err != nil {
					return err
				}
			}
		case "networks", "volumes", "configs", "secrets":
			for name, node := range entries(value) {
				at := section + "." + name
				m.others[at] = append(m.others[at], textsOf(f, node)...)
			}
		}
	}
	return nil
}

func (m *model) include(f *file, entry *yaml.Node) error {
	names := stringsOf(entry)
	if entry := resolved(entry); entry.Kind == yaml.MappingNode {
		names = stringsOf(child(entry, "path"))
	}
	for _, name := range names {
		if err := m.file(path.Join(path.Dir(f.name), name)); err != nil {
			return err
		}
	}
	return nil
}

func (m *model) service(f *file, name string, node *yaml.Node) error {
	s := m.services[name]
	if s == nil {
		s = &service{name: name}
		m.services[name] = s
	}
	return m.describe(s, f, node, 0)
}

// describe adds what one file says about a service, and what it extends.
func (m *model) describe(s *service, f *file, node *yaml.Node, depth int) error {
	if depth > 20 {
		return fail(f.at(node), "services.%s extends itself", s.name)
	}
	s.texts = append(s.texts, textsOf(f, node)...)
	for key, value := range entries(node) {
		if key == "env_file" {
			m.envFiles(s, f, value)
		}
	}
	for key, value := range entries(node) {
		if key == "image" && (depth == 0 || s.image == nil) {
			if found := textsOf(f, value); len(found) == 1 {
				s.image = &found[0]
			}
		}
	}
	if base, file, err := m.base(f, child(node, "extends")); err != nil || base != nil {
		return orThen(err, func() error { return m.describe(s, file, base, depth+1) })
	}
	return nil
}

func orThen(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}

// base is the service that another one extends.
func (m *model) base(f *file, extends *yaml.Node) (*yaml.Node, *file, error) {
	name := scalar(extends)
	if extends != nil && extends.Kind == yaml.MappingNode {
		name = scalar(child(extends, "service"))
		if other := scalar(child(extends, "file")); other != "" {
			var err error
			if f, err = m.w.load(path.Join(path.Dir(f.name), other)); err != nil {
				return nil, nil, err
			}
		}
	}
	for key, node := range entries(child(f.top, "services")) {
		if key == name && name != "" {
			return node, f, nil
		}
	}
	return nil, nil, nil
}

// envFiles adds the text of env files: they may use variables too. One that can't be read is
// for the validation to tell.
func (m *model) envFiles(s *service, f *file, node *yaml.Node) {
	names := stringsOf(node)
	if list := resolved(node); list.Kind == yaml.SequenceNode {
		for _, item := range list.Content {
			names = append(names, scalar(child(item, "path")))
		}
	}
	for _, name := range names {
		file := path.Join(path.Dir(f.name), name)
		if data, err := m.w.read(file); name != "" && err == nil {
			s.texts = append(s.texts, text{at: desired.Problem{File: file, Line: 1, Column: 1}, value: string(data)})
		}
	}
}

// textsOf are all texts at and below a node.
func textsOf(f *file, node *yaml.Node) []text {
	node = resolved(node)
	if node == nil {
		return nil
	}
	if node.Kind == yaml.ScalarNode {
		return []text{{at: f.at(node), file: f, node: node, value: node.Value}}
	}
	var out []text
	for _, c := range node.Content {
		out = append(out, textsOf(f, c)...)
	}
	return out
}

// entries yields the pairs of a mapping, those of merge keys included; the first wins.
func entries(node *yaml.Node) iter.Seq2[string, *yaml.Node] {
	return func(yield func(string, *yaml.Node) bool) {
		seen := map[string]bool{}
		for _, source := range sources(node) {
			for i := 0; i+1 < len(source.Content); i += 2 {
				key := source.Content[i]
				if key.ShortTag() == "!!merge" || seen[key.Value] {
					continue
				}
				seen[key.Value] = true
				if !yield(key.Value, source.Content[i+1]) {
					return
				}
			}
		}
	}
}

// sources are a mapping and those that it merges, in the order in which they win.
func sources(node *yaml.Node) []*yaml.Node {
	node = resolved(node)
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	out := []*yaml.Node{node}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].ShortTag() != "!!merge" {
			continue
		}
		merged := []*yaml.Node{node.Content[i+1]}
		if list := resolved(node.Content[i+1]); list.Kind == yaml.SequenceNode {
			merged = list.Content
		}
		for _, m := range merged {
			out = append(out, sources(m)...)
		}
	}
	return out
}

// stringsOf reads a string or a list of strings.
func stringsOf(node *yaml.Node) []string {
	node = resolved(node)
	switch {
	case node == nil:
		return nil
	case node.Kind == yaml.ScalarNode:
		return []string{node.Value}
	case node.Kind != yaml.SequenceNode:
		return nil
	}
	var out []string
	for _, item := range node.Content {
		out = append(out, scalar(item))
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}
