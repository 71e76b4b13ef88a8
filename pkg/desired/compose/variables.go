package compose

import (
	"maps"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"

	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*`)
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

func newVariables(lookup func(string) (string, bool)) *variables {
	if lookup == nil {
		lookup = func(string) (string, bool) { return "", false }
	}
	return &variables{lookup: lookup, own: map[string]string{}}
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

// flat returns all values that are known by now, outer ones first.
func (v *variables) flat() map[string]string {
	out := map[string]string{}
	for at := v; at != nil; at = at.parent {
		for name, value := range at.own {
			out[name] = value
		}
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

// fault is one variable of a value that has none, or a template that can't be read.
type fault struct{ message string }

// faults evaluates a template as Compose does and returns what Compose would turn into an
// empty string, or refuse. Defaults are only looked at where they are used.
func faults(s string, get func(string) (string, bool)) []fault {
	var out []fault
	for {
		at := strings.IndexByte(s, '$')
		if at < 0 {
			return out
		}
		s = s[at+1:]
		switch {
		case strings.HasPrefix(s, "$"):
			s = s[1:]
		case strings.HasPrefix(s, "{"):
			end := closing(s)
			if end < 0 {
				return append(out, fault{"a ${ is never closed; write $$ for a plain $"})
			}
			out = append(out, braced(s[1:end], get)...)
			s = s[end+1:]
		default:
			name := variableName.FindString(s)
			if name == "" {
				return append(out, fault{"a $ is not followed by a name; write $$ for a plain $"})
			}
			out = append(out, plain(name, get)...)
			s = s[len(name):]
		}
	}
}

// closing finds the brace that closes the one at the start of s.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func plain(name string, get func(string) (string, bool)) []fault {
	if _, ok := get(name); ok {
		return nil
	}
	return []fault{{"variable " + name + " is not defined and has no default"}}
}

// braced handles NAME, NAME:-default, NAME-default, NAME:?message, NAME?message,
// NAME:+other and NAME+other.
func braced(inner string, get func(string) (string, bool)) []fault {
	name := variableName.FindString(inner)
	rest := inner[len(name):]
	if name == "" {
		return []fault{{"${" + inner + "} does not start with a name; write $$ for a plain $"}}
	}
	if rest == "" {
		return plain(name, get)
	}
	value, ok := get(name)
	if strings.HasPrefix(rest, ":") {
		rest, ok = rest[1:], ok && value != ""
	}
	if rest == "" || !strings.ContainsRune("-?+", rune(rest[0])) {
		return []fault{{"${" + inner + "} is not a template Compose knows; write $$ for a plain $"}}
	}
	argument := rest[1:]
	switch {
	case rest[0] == '-' && !ok, rest[0] == '+' && ok:
		return faults(argument, get)
	case rest[0] == '?' && !ok:
		return []fault{{strings.TrimSuffix("variable "+name+" is required: "+argument, ": ")}}
	}
	return nil
}

// substituter is compose-go's interpolation with our variables. Faults were reported when
// the file was read, with their place; a value that has one becomes empty here.
func (l *loading) substituter() func(string, template.Mapping) (string, error) {
	return func(s string, below template.Mapping) (string, error) {
		get := func(name string) (string, bool) {
			if value, ok := l.variables.get(name); ok {
				return value, true
			}
			return below(name)
		}
		if strings.ContainsRune(s, '$') && len(faults(s, get)) > 0 {
			return "", nil
		}
		out, err := template.SubstituteWithOptions(s, get, template.WithoutLogging)
		if err != nil {
			return "", err
		}
		out = l.refs.hide(out)
		l.noteTilde(out)
		return out, nil
	}
}
