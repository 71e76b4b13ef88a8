package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// rewrite replaces what names other files by private copies of them, and takes out what
// has no effect but would make compose-go look at the disk or print a warning. A file
// without any of it is returned as it is.
func (l *loading) rewrite(data []byte, index *yamlpos.Index, from origin) ([]byte, error) {
	docs, err := documents(data)
	if err != nil {
		return nil, err
	}
	r := &rewriter{loading: l, index: index, from: from, done: map[*yaml.Node]bool{}}
	for _, doc := range docs {
		l.staged.add(doc)
		if root := resolved(doc); root != nil && root.Kind == yaml.MappingNode {
			r.root(root)
		}
	}
	if !r.changed {
		return data, nil
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	for _, doc := range docs {
		if err := encoder.Encode(doc); err != nil {
			return nil, fmt.Errorf("write a copy: %w", err)
		}
	}
	if err := encoder.Close(); err != nil {
		return nil, fmt.Errorf("write a copy: %w", err)
	}
	return out.Bytes(), nil
}

func documents(data []byte) ([]*yaml.Node, error) {
	var docs []*yaml.Node
	for decoder := yaml.NewDecoder(bytes.NewReader(data)); ; {
		doc := &yaml.Node{}
		err := decoder.Decode(doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("invalid YAML: %w", err)
		}
		docs = append(docs, doc)
	}
}

type rewriter struct {
	*loading

	index   *yamlpos.Index
	from    origin
	done    map[*yaml.Node]bool
	changed bool
}

func (r *rewriter) root(root *yaml.Node) {
	if version := child(root, "version"); version != nil {
		r.deferWarning("version", "is obsolete and has no effect")
		r.remove(root, "version")
	}
	if include := resolved(child(root, "include")); include != nil && !r.from.base {
		for i, entry := range include.Content {
			r.include(yamlpos.Item("include", i), entry)
		}
	}
	for _, section := range []string{"services", "jobs"} {
		services := resolved(child(root, section))
		for name, service := range pairs(services) {
			r.extends(yamlpos.Child(section, name), service)
			if develop := child(resolved(service), "develop"); develop != nil {
				r.deferWarning(yamlpos.Child(section, name)+".develop", "has no effect: the agent does not watch source files")
				r.remove(resolved(service), "develop")
			}
		}
	}
}

func (r *rewriter) remove(mapping *yaml.Node, key string) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			mapping.Content = slices.Delete(mapping.Content, i, i+2)
			r.changed = true
			return
		}
	}
}

func (r *rewriter) deferWarning(at, message string) {
	d := deferredProblem{warning: true, base: r.from.base}
	d.Problem = Problem{File: r.index.File(), Path: at, Message: message}
	d.Line, d.Column = r.index.At(at)
	if m := servicePath.FindStringSubmatch(at); m != nil {
		d.service = m[1]
	}
	r.deferred = append(r.deferred, d)
}

// problem reports at a path of the file that is being rewritten.
func (r *rewriter) problem(at, format string, args ...any) {
	line, column := r.index.At(at)
	r.found.problems = append(r.found.problems, Problem{
		File: r.index.File(), Line: line, Column: column, Path: at, Message: fmt.Sprintf(format, args...),
	})
}

// substituted returns the value of a scalar with its variables; faults are reported apart.
func (r *rewriter) substituted(s string) string {
	out, err := r.substituter()(s, r.from.variables.get)
	if err != nil {
		return ""
	}
	return r.refs.show(out)
}

// locate joins a path with where the file's paths start, and refuses what Compose would
// fetch, expand or find outside.
func (r *rewriter) locate(at, file string) (string, bool) {
	file = r.substituted(file)
	switch {
	case file == "":
		r.problem(at, "names no file")
		return "", false
	case remote(file):
		r.problem(at, "%s is remote: only files of the repository are read; commit a copy", file)
		return "", false
	case strings.HasPrefix(file, "~"):
		r.problem(at, "%s is in a home directory: only files of the repository are read", file)
		return "", false
	case path.IsAbs(file):
		r.problem(at, "%s is an absolute path: only files of the repository are read", file)
		return "", false
	}
	joined, err := inside(path.Join(r.from.workdir, file))
	if err != nil {
		r.problem(at, "%s %v", file, errOutside)
		return "", false
	}
	return joined, true
}

// cyclic reports a file that leads back to itself.
func (r *rewriter) cyclic(at, file string) bool {
	if slices.Contains(r.from.stack, file) || len(r.from.stack) > maxIncludes {
		r.problem(at, "include cycle: %s", strings.Join(append(slices.Clone(r.from.stack), file), " -> "))
		return true
	}
	return false
}
