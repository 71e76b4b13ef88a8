package edit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v4"

	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// maxFileBytes is that of pkg/desired.
const maxFileBytes = 1 << 20

// workspace holds the files that a change looks at, with what it did to them so far.
type workspace struct {
	root  *os.Root
	files map[string]*file
}

func open(root string) (*workspace, error) {
	if !filepath.IsAbs(root) {
		return nil, fmt.Errorf("open desired state: %q is not an absolute path", root)
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open desired state: %w", err)
	}
	return &workspace{root: dir, files: map[string]*file{}}, nil
}

// file is one YAML file of one document.
type file struct {
	name         string
	before, data []byte
	top          *yaml.Node // nil for an empty file
	summary      []string
}

// load reads a file once. A file that is not there is an error that names it.
func (w *workspace) load(name string) (*file, error) {
	if f, ok := w.files[name]; ok {
		return f, nil
	}
	data, err := w.read(name)
	if err != nil {
		return nil, err
	}
	f := &file{name: name, before: data}
	if err := f.parse(data); err != nil {
		return nil, err
	}
	w.files[name] = f
	return f, nil
}

func (w *workspace) read(name string) ([]byte, error) {
	at := desired.Problem{File: name, Line: 1, Column: 1}
	in, err := w.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(at, "does not exist")
	}
	if err != nil {
		return nil, fail(at, "can't be read")
	}
	defer in.Close() //nolint:errcheck // nothing was written
	data, err := io.ReadAll(io.LimitReader(in, maxFileBytes+1))
	if err != nil {
		return nil, fail(at, "can't be read")
	}
	if len(data) > maxFileBytes {
		return nil, fail(at, "is larger than %d bytes", maxFileBytes)
	}
	return data, nil
}

// parse takes over data as the content.
func (f *file) parse(data []byte) error {
	// yamlpos names places, finds keys that are there twice and bounds aliases.
	if _, err := yamlpos.Parse(f.name, data); err != nil {
		return invalid(err)
	}
	top, err := single(data)
	if err != nil {
		return fail(f.at(nil), "%v", err)
	}
	f.data, f.top = data, top
	return nil
}

func single(data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("invalid YAML: %w", err)
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("has several YAML documents: edit it by hand")
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	return doc.Content[0], nil
}

func invalid(err error) error {
	placed, ok := errors.AsType[*yamlpos.Error](err)
	if !ok {
		return err
	}
	out := &desired.Error{}
	for _, p := range placed.Problems {
		out.Problems = append(out.Problems, desired.Problem(p))
	}
	return out
}

// at is the place of a node; nil is the file.
func (f *file) at(node *yaml.Node) desired.Problem {
	p := desired.Problem{File: f.name, Line: 1, Column: 1}
	if node != nil {
		p.Line, p.Column = max(node.Line, 1), max(node.Column, 1)
	}
	return p
}

// pair returns key and value of a mapping's own entry, as they are written: the value may be
// an alias.
func pair(mapping *yaml.Node, key string) (k, v *yaml.Node) {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key && mapping.Content[i].Kind == yaml.ScalarNode {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

// child is the value of a mapping's own entry behind its aliases; nil when it is not there.
func child(mapping *yaml.Node, keys ...string) *yaml.Node {
	at := resolved(mapping)
	for _, key := range keys {
		_, value := pair(at, key)
		at = resolved(value)
	}
	return at
}

func resolved(node *yaml.Node) *yaml.Node {
	for node != nil && node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

func scalar(node *yaml.Node) string {
	if node = resolved(node); node != nil && node.Kind == yaml.ScalarNode {
		return node.Value
	}
	return ""
}

func isNull(node *yaml.Node) bool {
	return node != nil && node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}
