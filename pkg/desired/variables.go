package desired

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
)

// Names that every stack has. No file may define them.
const (
	varNodeName     = "NODE_NAME"
	varNodeHostname = "NODE_HOSTNAME"
	varStack        = "STACK"
	varProject      = "PROJECT"
	varComposeName  = "COMPOSE_PROJECT_NAME"
	// Only a pool's template has these.
	varReplica = "REPLICA"
	varPort    = "PORT"
)

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	objectName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	plainUse     = regexp.MustCompile(`^\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})$`)
)

// scope is one `variables:` mapping of a file.
type scope struct {
	doc    *document
	path   string
	values map[string]string
	// closed scopes belong to one stack: a variable in them that nothing uses is suspect.
	closed bool
}

// variables resolves the variables of one stack on one node. Later scopes override
// earlier ones, built-in names override all. It belongs to one goroutine.
type variables struct {
	scopes   []scope
	builtins map[string]string
	resolved map[string]string
	// visiting is the chain of variables that are being resolved.
	visiting []string
	// used and missing are the names that were asked for, with and without success.
	used, missing map[string]bool
	report        *report
}

func newVariables(r *report, scopes ...scope) *variables {
	return &variables{
		scopes: scopes, builtins: map[string]string{}, resolved: map[string]string{},
		used: map[string]bool{}, missing: map[string]bool{}, report: r,
	}
}

// set adds built-in variables and forgets what was resolved with their old values.
func (v *variables) set(builtins map[string]string) {
	maps.Copy(v.builtins, builtins)
	clear(v.resolved)
}

// definition returns the strongest scope that has the variable.
func (v *variables) definition(name string) (*scope, bool) {
	for i := len(v.scopes) - 1; i >= 0; i-- {
		if _, ok := v.scopes[i].values[name]; ok {
			return &v.scopes[i], true
		}
	}
	return nil, false
}

func (s *scope) at(name string) Problem { return s.doc.at(s.path + "." + name) }

// lookup returns the value of a variable, with placeholders for secrets. A variable whose
// definition is broken counts as set: its problem is reported at the definition, once.
func (v *variables) lookup(name string) (string, bool) {
	if value, ok := v.builtins[name]; ok {
		return value, true
	}
	found, ok := v.definition(name)
	if !ok {
		v.missing[name] = true
		return "", false
	}
	v.used[name] = true
	if value, ok := v.resolved[name]; ok {
		return value, true
	}
	if at := slices.Index(v.visiting, name); at >= 0 {
		p := found.at(name)
		p.Message = "refers to itself: " + strings.Join(append(slices.Clone(v.visiting[at:]), name), " -> ")
		v.report.add(p)
		v.resolved[name] = ""
		return "", true
	}
	text, err := placeholders(found.values[name])
	if err != nil {
		// checkVariables reported it where the file was read.
		text = ""
	}
	v.visiting = append(v.visiting, name)
	value := v.expand(text, found.at(name))
	v.visiting = v.visiting[:len(v.visiting)-1]
	if _, broken := v.resolved[name]; !broken {
		v.resolved[name] = value
	}
	return v.resolved[name], true
}

// expand replaces ${…} in a text that stands at a place. The syntax is Compose's own. A
// plain ${X} without a value is a problem; ${X:-default} is not.
func (v *variables) expand(text string, at Problem) string { return v.expandWith(nil, text, at) }

// expandWith is expand with names that come before all variables.
func (v *variables) expandWith(first map[string]string, text string, at Problem) string {
	lookup := func(name string) (string, bool) {
		if value, ok := first[name]; ok {
			return value, true
		}
		return v.lookup(name)
	}
	fail := func(message string) string {
		at.Message = message
		v.report.add(at)
		return ""
	}
	unset := map[string]bool{}
	value, err := template.SubstituteWithOptions(text, lookup, template.WithoutLogging,
		template.WithReplacementFunction(func(found string, mapping template.Mapping, cfg *template.Config) (string, error) {
			if use := plainUse.FindStringSubmatch(found); use != nil {
				if _, ok := mapping(use[1] + use[2]); !ok {
					unset[use[1]+use[2]] = true
				}
			}
			return template.DefaultReplacementFunc(found, mapping, cfg)
		}))
	if err != nil {
		return fail("has a ${…} that is malformed or lacks a required variable: write $$ for a plain $")
	}
	if len(unset) > 0 {
		names := keysOf(unset)
		return fail("uses ${" + strings.Join(names, "}, ${") + "}, which nothing sets" + didYouMean(names[0], append(v.names(), keysOf(first)...)))
	}
	return value
}

// names returns all variables that are set, sorted.
func (v *variables) names() []string {
	all := maps.Clone(v.builtins)
	for _, s := range v.scopes {
		maps.Copy(all, s.values)
	}
	return keysOf(all)
}

// checkUnused looks at what the stack alone defines and nothing asked for: a name close to
// one that was missing (so that Compose took a default) is a misspelling.
func (v *variables) checkUnused(skip func(name string) bool) {
	missing := keysOf(v.missing)
	for _, s := range v.scopes {
		for _, name := range keysOf(s.values) {
			if !s.closed || v.used[name] || skip(name) {
				continue
			}
			p := s.at(name)
			if hint := didYouMean(name, missing); hint != "" {
				p.Message = "nothing uses this variable" + hint
				v.report.add(p)
				continue
			}
			p.Message = "nothing uses this variable"
			v.report.warn(p)
		}
	}
}
