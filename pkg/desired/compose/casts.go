package compose

import (
	"strings"

	interp "github.com/compose-spec/compose-go/v2/interpolation"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/tree"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

// keySet holds the keys of all mappings of the staged files.
type keySet map[string]bool

// add takes the keys below node. What stands behind an alias or a merge key is below its
// anchor. A key with dots counts as its parts, because compose-go's paths have dots
// between keys.
func (k keySet) add(node *yaml.Node) {
	if node.Kind == yaml.MappingNode {
		for i := 0; i < len(node.Content); i += 2 {
			for part := range strings.SplitSeq(node.Content[i].Value, ".") {
				k[part] = true
			}
		}
	}
	for _, child := range node.Content {
		k.add(child)
	}
}

// casts are those of compose-go's type casts that can apply to the staged files.
// compose-go compares every value with every pattern, which took a quarter of the time of
// a load, and few files use more than a handful of the attributes that have one. A pattern
// can apply only where each of its keys occurs.
func (k keySet) casts() map[tree.Path]interp.Cast {
	used := map[tree.Path]interp.Cast{}
	for pattern, cast := range loader.ToOptions(&types.ConfigDetails{}, nil).Interpolate.TypeCastMapping {
		if k.hasAll(pattern.Parts()) {
			used[pattern] = cast
		}
	}
	return used
}

func (k keySet) hasAll(parts []string) bool {
	for _, part := range parts {
		if part != tree.PathMatchAll && part != tree.PathMatchList && !k[part] {
			return false
		}
	}
	return true
}
