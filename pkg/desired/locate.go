package desired

import (
	"slices"
	"strings"
	"sync"

	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// composeFiles finds places in the Compose files of a stack, for problems that show only
// after Compose's own checks. Files are parsed when the first problem asks.
type composeFiles struct {
	tree    *tree
	files   []string
	indexes []*yamlpos.Index
}

// at returns the place of a path in the last file that has it, or of its nearest known
// ancestor.
func (c *composeFiles) at(path string) Problem {
	c.parse()
	for known := path; known != ""; known = known[:max(strings.LastIndexAny(known, ".["), 0)] {
		for _, index := range slices.Backward(c.indexes) {
			if index.Has(known) {
				line, column := index.At(known)
				return Problem{File: index.File(), Line: line, Column: column, Path: path}
			}
		}
	}
	return Problem{File: c.files[0], Line: 1, Column: 1, Path: path}
}

// has tells whether one of the files has a path.
func (c *composeFiles) has(path string) bool {
	c.parse()
	for _, index := range c.indexes {
		if index.Has(path) {
			return true
		}
	}
	return false
}

// environment returns the place of a key of a service's environment, which may be a
// mapping or a list.
func (c *composeFiles) environment(service, key string) Problem {
	c.parse()
	base := "services." + service + ".environment"
	for _, index := range slices.Backward(c.indexes) {
		for scalar := range index.Scalars() {
			name, _, _ := strings.Cut(scalar.Value, "=")
			if strings.HasPrefix(scalar.Path, base+"[") && name == key {
				return Problem{File: index.File(), Line: scalar.Line, Column: scalar.Column, Path: scalar.Path}
			}
		}
	}
	return c.at(base + "." + key)
}

func (c *composeFiles) parse() {
	if c.indexes != nil {
		return
	}
	c.indexes = []*yamlpos.Index{}
	for _, file := range c.files {
		if index := c.tree.parse(file); index != nil {
			c.indexes = append(c.indexes, index)
		}
	}
}

// parsedFiles are indexes by file; nil for what can't be read. Indexes don't change.
type parsedFiles struct {
	mu    sync.Mutex
	files map[string]*yamlpos.Index
}

// parse reads a file once, whichever number of nodes needs it.
func (t *tree) parse(file string) *yamlpos.Index {
	t.parsed.mu.Lock()
	defer t.parsed.mu.Unlock()
	if index, ok := t.parsed.files[file]; ok {
		return index
	}
	var index *yamlpos.Index
	if data, err := t.read(file); err == nil {
		if parsed, err := yamlpos.Parse(file, data); err == nil {
			index = parsed
		}
	}
	if t.parsed.files == nil {
		t.parsed.files = map[string]*yamlpos.Index{}
	}
	t.parsed.files[file] = index
	return index
}
