package compose

import (
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/consts"
	"github.com/compose-spec/compose-go/v2/template"

	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

var (
	variableUse  = regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)`)
	envListItem  = regexp.MustCompile(`\.environment\[[0-9]+\]$`)
	envMapItem   = regexp.MustCompile(`\.environment\.([^.\[]+)$`)
	fileVariable = regexp.MustCompile(`^(?:secrets|configs)\.[^\[]+\.environment$`)
	plainName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// variables is what ${…} may use: those of the request, below them the env_file of an
// include. compose-go wants a map, so every name that a file mentions is looked up when
// the file is read.
type variables struct {
	lookup func(string) (string, bool)
	own    map[string]string
	parent *variables
}

// newVariables adds the one variable that Compose itself defines: the project's name.
func newVariables(project string, lookup func(string) (string, bool)) *variables {
	return &variables{own: map[string]string{}, lookup: func(name string) (string, bool) {
		switch {
		case name == consts.ComposeProjectName:
			return project, true
		case lookup == nil:
			return "", false
		}
		return lookup(name)
	}}
}

// below returns the variables of an included file: what is known already wins.
func (v *variables) below(own map[string]string) *variables {
	return &variables{lookup: v.lookup, own: maps.Clone(own), parent: v}
}

func (v *variables) get(name string) (string, bool) {
	if value, ok := v.lookup(name); ok {
		return value, true
	}
	for at := v; at != nil; at = at.parent {
		if value, ok := at.own[name]; ok {
			return value, true
		}
	}
	return "", false
}

// flat returns all values that are known by now; outer ones win.
func (v *variables) flat() map[string]string {
	out := map[string]string{}
	for at := v; at != nil; at = at.parent {
		maps.Copy(out, at.own)
	}
	return out
}

// observe looks up every name in the text of a file.
func (v *variables) observe(text []byte) {
	for _, m := range variableUse.FindAllSubmatch(text, -1) {
		v.remember(string(m[1]))
	}
}

// observeKeys looks up names that stand without "$": environment keys without a value,
// and the variable that a secret or config is made of.
func (v *variables) observeKeys(index *yamlpos.Index) {
	for s := range index.Scalars() {
		switch m := envMapItem.FindStringSubmatch(s.Path); {
		case m != nil && s.Tag == "!!null":
			v.remember(m[1])
		case plainName.MatchString(s.Value) && (envListItem.MatchString(s.Path) || fileVariable.MatchString(s.Path)):
			v.remember(s.Value)
		}
	}
}

func (v *variables) remember(name string) {
	root := v
	for root.parent != nil {
		root = root.parent
	}
	if _, ok := root.own[name]; ok {
		return
	}
	if value, ok := v.lookup(name); ok {
		root.own[name] = value
	}
}

// substituter is compose-go's interpolation with our variables. Faults were reported when
// the file was read, with their place; a value that has one gets a stand-in here, so that
// the rest of the file can be checked.
func (l *loading) substituter() func(string, template.Mapping) (string, error) {
	return func(s string, below template.Mapping) (string, error) {
		get := func(name string) (string, bool) {
			if value, ok := l.variables.get(name); ok {
				return value, true
			}
			return below(name)
		}
		if strings.ContainsRune(s, '$') {
			if standIn, found := evaluate(s, get); len(found) > 0 {
				return standIn, nil
			}
		}
		out, err := template.SubstituteWithOptions(s, get, template.WithoutLogging)
		if err != nil {
			return "", err
		}
		if tooManyParents(out) {
			return "", fmt.Errorf("a value climbs %d folders: %w", strings.Count(out, ".."), errOutside)
		}
		out = l.refs.hide(out)
		l.noteTilde(out)
		return out, nil
	}
}
