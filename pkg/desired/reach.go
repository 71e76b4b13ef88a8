package desired

import (
	"bytes"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// reach says how far the Compose files of a stack may look for files, without a Load.
type reach int

const (
	// reachFolder: nothing outside of the stack's folder can be looked at.
	reachFolder reach = iota
	// reachFixed: paths lead outside, the same ones on each node that has the same services on.
	reachFixed
	// reachUnknown: paths depend on variables, or on more than is understood here.
	reachUnknown
)

// maxExtended bounds how many files reachOf follows.
const maxExtended = 20

// reachOf reads the Compose files of a stack and the files that they extend.
func (t *tree) reachOf(s *stack) reach {
	r := &reachScan{}
	for _, file := range s.Spec.Compose {
		r.files = append(r.files, path.Join(s.folder, file))
	}
	for i := 0; i < len(r.files) && r.found != reachUnknown; i++ {
		r.at = r.files[i]
		data, err := t.read(r.at)
		if err == nil {
			// The index is what bounds aliases for the walk.
			_, err = yamlpos.Parse(r.at, data)
		}
		if err != nil || i >= maxExtended || !strings.HasPrefix(r.at, s.folder+"/") && i < len(s.Spec.Compose) {
			return reachUnknown
		}
		r.text(data)
	}
	return r.found
}

type reachScan struct {
	found reach
	files []string
	at    string
}

func (r *reachScan) atLeast(found reach) { r.found = max(r.found, found) }

func (r *reachScan) text(data []byte) {
	for decoder := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil || len(doc.Content) != 1 {
			r.atLeast(reachUnknown)
			return
		}
		r.pairs(doc.Content[0], r.section)
	}
}

// pairs calls each for the pairs of a mapping, those that merge keys bring in included.
func (r *reachScan) pairs(node *yaml.Node, each func(key string, value *yaml.Node)) {
	node = target(node)
	if node.Kind != yaml.MappingNode {
		if !isNull(node) {
			r.atLeast(reachUnknown)
		}
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], target(node.Content[i+1])
		switch {
		case key.ShortTag() != "!!merge":
			each(key.Value, value)
		case value.Kind == yaml.SequenceNode:
			for _, source := range value.Content {
				r.pairs(source, each)
			}
		default:
			r.pairs(value, each)
		}
	}
}

func (r *reachScan) section(key string, value *yaml.Node) {
	switch {
	case key == "include":
		r.atLeast(reachUnknown)
	case key == "services", key == "jobs":
		r.pairs(value, func(_ string, service *yaml.Node) { r.pairs(service, r.attribute) })
	case strings.HasPrefix(key, "x-"), slices.Contains([]string{"name", "version", "networks", "volumes"}, key):
		// It counts where it is used, or names nothing in the repository.
	default:
		r.paths(value)
	}
}

func (r *reachScan) attribute(key string, value *yaml.Node) {
	switch key {
	case "extends":
		r.extends(value)
	// No text in these is a path of the repository.
	case "command", "container_name", "depends_on", "deploy", "entrypoint", "environment", "extra_hosts",
		"healthcheck", "hostname", "image", "labels", "logging", "networks", "ports", "restart":
	default:
		r.paths(value)
	}
}

func (r *reachScan) extends(value *yaml.Node) {
	if value.Kind == yaml.ScalarNode {
		return // a service of this file
	}
	r.pairs(value, func(key string, value *yaml.Node) {
		if key != "file" {
			return
		}
		// Paths in the extended file start at that file's folder.
		r.atLeast(reachFixed)
		if r.paths(value); value.Kind != yaml.ScalarNode {
			r.atLeast(reachUnknown)
			return
		}
		if file := path.Join(path.Dir(r.at), value.Value); !slices.Contains(r.files, file) {
			r.files = append(r.files, file)
		}
	})
}

// paths looks at texts that may be paths.
func (r *reachScan) paths(node *yaml.Node) {
	node = target(node)
	if node.Kind == yaml.ScalarNode {
		switch {
		case strings.Contains(node.Value, "$"):
			r.atLeast(reachUnknown)
		case strings.Contains(node.Value, ".."):
			r.atLeast(reachFixed)
		}
	}
	for _, child := range node.Content {
		r.paths(child)
	}
}

func target(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}
