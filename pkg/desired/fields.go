package desired

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

var (
	dnsLabel    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	dnsName     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)
	projectName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
	hostPort    = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]{1,5})?$`)
)

// header checks what every kind has. want is the name that file or folder gives; empty
// for any.
func (d *document) header(h api.Header, kind, want string) {
	if h.APIVersion != api.APIVersion && d.has("apiVersion") {
		d.problem("apiVersion", "must be %s", api.APIVersion)
	}
	if h.Kind != kind && d.has("kind") {
		d.problem("kind", "must be %s in this file", kind)
	}
	if !d.has("metadata.name") {
		return
	}
	switch name := h.Metadata.Name; {
	case !dnsLabel.MatchString(name):
		d.problem("metadata.name", `must have lower case letters, digits and "-" only, at most 63, and neither begin nor end with "-"`)
	case want != "" && name != want:
		d.problem("metadata.name", "must be %q, as the file or folder is named", want)
	}
}

func (d *document) has(path string) bool {
	_, ok := d.places[path]
	return ok
}

func (d *document) checkVariables(path string, values map[string]string) {
	for _, name := range keysOf(values) {
		switch name {
		case varNodeName, varNodeHostname, varStack, varProject, varComposeName:
			d.problem(path+"."+name, "is a built-in variable: choose another name")
			continue
		}
		if !variableName.MatchString(name) {
			d.problem(path+"."+name, "is not a variable name: letters, digits and _ only, and no digit first")
		}
		if _, err := placeholders(values[name]); err != nil {
			d.problem(path+"."+name, "%s", err)
		}
	}
}

func (d *document) checkMounts(path string, mounts []api.MountSpec) {
	for i, m := range mounts {
		at := fmt.Sprintf("%s[%d]", path, i)
		if m.GID != nil && *m.GID < 0 {
			d.problem(at+".gid", "must not be negative")
		}
		same := func(other api.MountSpec) bool { return other.Path == m.Path }
		if slices.IndexFunc(mounts, same) < i {
			d.problem(at+".path", "is there twice")
		}
	}
}

// absoluteFault says why a text is not an absolute, clean path; empty when it is one.
func absoluteFault(p string) string {
	switch {
	case !strings.HasPrefix(p, "/"):
		return "must be an absolute path"
	case path.Clean(p) != p:
		return "must be a clean path: no //, no . or .., no slash at the end"
	}
	return ""
}

func (d *document) checkRules(path string, rules []api.VariableRule) {
	seen := map[string]bool{}
	for i, rule := range rules {
		at := fmt.Sprintf("%s[%d]", path, i)
		if !variableName.MatchString(rule.Name) {
			d.problem(at+".name", "is not a variable name")
		}
		if seen[rule.Name] {
			d.problem(at+".name", "has a rule already")
		}
		seen[rule.Name] = true
		if rule.MinLength < 0 {
			d.problem(at+".minLength", "must not be negative")
		}
		if _, err := regexp.Compile(rule.Pattern); err != nil {
			d.problem(at+".pattern", "is not a regular expression")
		}
		if rule.ReplacedBy != "" && (rule.Optional || rule.MinLength > 0 || len(rule.Allowed) > 0 || rule.Pattern != "") {
			d.problem(at+".replacedBy", "excludes all other rules")
		}
	}
}

// checkNames: a name that is let be is one of a variable or of a Compose secret.
func (d *document) checkNames(path string, names []string) {
	for i, name := range names {
		if !objectName.MatchString(name) {
			d.problem(fmt.Sprintf("%s[%d]", path, i), "is not a variable name")
		}
	}
}
