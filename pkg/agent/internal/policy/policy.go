package policy

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// Names of the sections of a policy file, as they stand in violations.
const (
	ruleReferences = "references"
	ruleRegistries = "registries"
	ruleImages     = "images"
	ruleHostPaths  = "hostPaths"
	ruleContainers = "containers"
	ruleAdopt      = "adopt"
	ruleRegistrars = "registrars"
	privileges     = "privileges"

	rulePrivileged    = privileges + ".privileged"
	ruleDockerSocket  = privileges + ".dockerSocket"
	ruleCapabilities  = privileges + ".capabilities"
	ruleDevices       = privileges + ".devices"
	ruleNamespaces    = privileges + ".hostNamespaces"
	ruleSecurityOpt   = privileges + ".securityOpt"
	ruleCgroupParents = privileges + ".cgroupParents"
	ruleRuntimes      = privileges + ".runtimes"
	ruleVolumes       = privileges + ".volumeDrivers"
	ruleNetworks      = privileges + ".networkDrivers"
	ruleLogs          = privileges + ".logDrivers"
	ruleAnnotations   = privileges + ".annotations"
)

// Policy is one parsed file. It is immutable and safe for concurrent use. A zero Policy
// allows nothing.
type Policy struct {
	images    []imageRule
	hostPaths []pathRule
	// lists holds the patterns of all other lists by rule.
	lists map[string][]*regexp.Regexp
	// flags are the rules that are switched on.
	flags map[string]bool
}

// pathRule allows a path of the host and all below it.
type pathRule struct {
	path     string
	writable bool
}

// Host is what Check has to know beyond the stack.
type Host struct {
	// Links maps a path of Paths to where it leads once symbolic links are followed. A path
	// that is not in it leads to itself.
	Links map[string]string
	// Guarded are paths that give whoever reaches them the node: sockets of the engine, and
	// the agent's own files.
	Guarded []string
	// Registries hold the logins that pulls of the stack use.
	Registries []api.Registry
}

// Violation is one thing that the policy does not allow.
type Violation struct {
	// Rule is the section of the policy file.
	Rule string
	// Service is empty for what belongs to the stack as a whole.
	Service string
	// Field is where the Compose file has it.
	Field string
	// Value is what is not allowed. It may be a reference, never a value of one.
	Value string
	// Fix is what an administrator writes to allow it.
	Fix string
}

// Message says what is wrong and who mends it how, for the policy file of that name.
func (v Violation) Message(file string) string {
	return fmt.Sprintf("%s: %s is not allowed by rule %s of this node's policy: take it out of the desired state, "+
		"or let an administrator of the node write %s in %s", v.Field, v.Value, v.Rule, v.Fix, file)
}

// AllowsReference tells whether a reference may be sent to a provider. One that is
// malformed may not.
func (p *Policy) AllowsReference(ref string) bool {
	parsed, err := api.ParseReference(ref)
	return err == nil && p.allows(ruleReferences, canonical(parsed))
}

// AllowsRegistry tells whether the registry may be asked, and be sent a login.
func (p *Policy) AllowsRegistry(host string) bool {
	return p.allows(ruleRegistries, strings.ToLower(host))
}

// canonical is the form that patterns are compared with: names of vaults, items and fields
// do not tell cases apart.
func canonical(ref api.SecretReference) string { return strings.ToLower(ref.String()) }

func (p *Policy) allows(rule, text string) bool {
	for _, pattern := range p.lists[rule] {
		if pattern.MatchString(text) {
			return true
		}
	}
	return false
}

// allowsPath tells whether a clean path of the host may be bound.
func (p *Policy) allowsPath(name string, access access) bool {
	for _, rule := range p.hostPaths {
		if under(name, rule.path) && (rule.writable || access == reads) {
			return true
		}
	}
	return false
}

// access is how a path is used.
type access string

const (
	reads  access = "read-only"
	writes access = "writable"
)

// under tells whether a clean path is folder or below it.
func under(name, folder string) bool {
	return name == folder || folder == "/" || strings.HasPrefix(name, folder+"/")
}

// overlaps tells whether one of two clean paths holds the other.
func overlaps(a, b string) bool { return under(a, b) || under(b, a) }

// isClean tells whether a path is absolute and says where it leads by itself.
func isClean(name string) bool { return path.IsAbs(name) && path.Clean(name) == name }

// item is how a list entry is written in the file.
func item(rule, text string) string { return fmt.Sprintf("`- %s` under %s", quoted(text), rule) }

// flag is how a switch is written in the file.
func flag(rule string) string {
	return fmt.Sprintf("`%s: true` under %s", strings.TrimPrefix(rule, privileges+"."), privileges)
}

var plainText = regexp.MustCompile(`^[A-Za-z0-9/._-][A-Za-z0-9 /._@+=~?-]*(:[A-Za-z0-9/._@+=~?-]+[A-Za-z0-9 /._@+=~?-]*)*$`)

// quoted writes text as YAML has to have it.
func quoted(text string) string {
	if plainText.MatchString(text) && !strings.HasPrefix(text, "- ") {
		return text
	}
	return fmt.Sprintf("%q", text)
}

// maxValue bounds what a message repeats of the desired state, in bytes.
const maxValue = 120

// shown is a value of the desired state as a message repeats it.
func shown(text string) string {
	text = api.Display(text)
	if len(text) > maxValue {
		text = strings.ToValidUTF8(text[:maxValue], "") + "…"
	}
	return text
}
