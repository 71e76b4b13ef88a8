package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"ktrdr.io/fleet/pkg/api"
)

// MaxSize bounds a policy file, in bytes.
const MaxSize = 1 << 20

// Parse reads a policy file. Unknown and repeated keys, wrong types and entries that can
// match nothing are errors; all are told together, each with name:line:column.
func Parse(name string, data []byte) (*Policy, error) {
	f := &file{name: name, policy: &Policy{lists: map[string][]*regexp.Regexp{}, flags: map[string]bool{}}}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, MaxSize)
	}
	if root := f.document(data); root != nil {
		f.mapping(root, "", f.sections())
	}
	if len(f.problems) > 0 {
		return nil, errors.Join(f.problems...)
	}
	return f.policy, nil
}

// file is a policy file that is being read.
type file struct {
	name     string
	policy   *Policy
	problems []error
}

func (f *file) problem(node *yaml.Node, format string, args ...any) {
	f.problems = append(f.problems, fmt.Errorf("%s:%d:%d: %w", f.name, max(node.Line, 1), max(node.Column, 1), fmt.Errorf(format, args...)))
}

// document returns the only document's root; nil when there is none.
func (f *file) document(data []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	if err := decoder.Decode(&first); err != nil {
		if !errors.Is(err, io.EOF) {
			f.syntax(err)
		}
		return nil
	}
	switch err := decoder.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		f.syntax(err)
		return nil
	default:
		f.problem(&second, "a second YAML document: one file holds one policy")
		return nil
	}
	if len(first.Content) == 0 || first.Content[0].ShortTag() == "!!null" {
		return nil
	}
	return first.Content[0]
}

var yamlPlace = regexp.MustCompile(`\bline (\d+)(?:, column (\d+))?:? ?`)

// syntax takes the place out of the parser's message, where alone it is.
func (f *file) syntax(err error) {
	at := &yaml.Node{}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	for _, found := range yamlPlace.FindAllStringSubmatch(text, -1) {
		at.Line, _ = strconv.Atoi(found[1])
		at.Column, _ = strconv.Atoi(found[2])
	}
	f.problem(at, "invalid YAML: %s", strings.Join(strings.Fields(yamlPlace.ReplaceAllString(text, "")), " "))
}

// reader takes the value of one key.
type reader func(value *yaml.Node, rule string)

func (f *file) sections() map[string]reader {
	return map[string]reader{
		ruleReferences: f.list(f.reference),
		ruleRegistries: f.list(f.registry),
		ruleImages:     f.list(f.image),
		ruleHostPaths:  f.paths,
		ruleContainers: f.list(f.glob),
		ruleAdopt:      f.list(f.adoption),
		ruleRegistrars: f.list(f.registrar),
		privileges:     func(value *yaml.Node, rule string) { f.mapping(value, rule, f.privileges()) },
	}
}

func (f *file) privileges() map[string]reader {
	readers := map[string]reader{}
	for rule, read := range map[string]reader{
		rulePrivileged: f.flag, ruleDockerSocket: f.flag,
		ruleCapabilities: f.list(f.capability), ruleNamespaces: f.list(f.namespace),
		ruleSecurityOpt: f.list(f.securityOpt),
		ruleDevices:     f.list(f.glob), ruleCgroupParents: f.list(f.glob), ruleRuntimes: f.list(f.glob), ruleVolumes: f.list(f.glob),
		ruleNetworks: f.list(f.glob), ruleLogs: f.list(f.glob), ruleAnnotations: f.list(f.glob),
	} {
		readers[strings.TrimPrefix(rule, privileges+".")] = read
	}
	return readers
}

// mapping hands the value of each key to its reader. A key without a value is an error:
// it looks like a rule and would be none.
func (f *file) mapping(node *yaml.Node, rule string, readers map[string]reader) {
	if node.Kind != yaml.MappingNode {
		f.problem(node, "%smust be a mapping of %s", prefix(rule), strings.Join(slices.Sorted(maps.Keys(readers)), ", "))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		full := prefix(rule)
		read, known := readers[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !known:
			f.problem(key, "%sunknown key %q: use %s", full, key.Value, strings.Join(slices.Sorted(maps.Keys(readers)), ", "))
		case seen[key.Value]:
			f.problem(key, "%skey %q is there twice", full, key.Value)
		default:
			seen[key.Value] = true
			read(value, strings.TrimPrefix(rule+"."+key.Value, "."))
		}
	}
}

func prefix(rule string) string {
	if rule == "" {
		return ""
	}
	return rule + ": "
}

// list reads a sequence of texts.
func (f *file) list(each func(node *yaml.Node, rule string)) reader {
	return func(value *yaml.Node, rule string) {
		if value.Kind != yaml.SequenceNode {
			f.problem(value, "%s: must be a list; write [] to allow nothing", rule)
			return
		}
		for _, node := range value.Content {
			switch {
			case node.Kind != yaml.ScalarNode || node.ShortTag() != "!!str":
				f.problem(node, "%s: must be a list of texts; put quotes around %s", rule, node.Value)
			case strings.TrimSpace(node.Value) != node.Value || node.Value == "":
				f.problem(node, "%s: an entry must not be empty, or begin or end with a space", rule)
			default:
				each(node, rule)
			}
		}
	}
}

func (f *file) add(rule, glob string) {
	f.policy.lists[rule] = append(f.policy.lists[rule], pattern(glob))
}

func (f *file) glob(node *yaml.Node, rule string) { f.add(rule, node.Value) }

func (f *file) reference(node *yaml.Node, rule string) {
	text := strings.ToLower(node.Value)
	if !api.IsReference(text) {
		f.problem(node, "%s: must begin with op:// or akv://, such as op://vault/item/*", rule)
		return
	}
	f.add(rule, text)
}

func (f *file) registry(node *yaml.Node, rule string) {
	if strings.Contains(node.Value, "/") {
		f.problem(node, "%s: must be a host as it stands in image names, such as ghcr.io or registry.example:5000", rule)
		return
	}
	f.add(rule, strings.ToLower(node.Value))
}

func (f *file) image(node *yaml.Node, rule string) {
	parsed, err := newImageRule(node.Value)
	if err != nil {
		f.problem(node, "%s: %w", rule, err)
		return
	}
	f.policy.images = append(f.policy.images, parsed)
}

var capabilityName = regexp.MustCompile(`^[A-Z_]+$`)

func (f *file) capability(node *yaml.Node, rule string) {
	name := capability(node.Value)
	if !capabilityName.MatchString(name) {
		f.problem(node, "%s: must be the name of a capability, such as NET_ADMIN, or ALL", rule)
		return
	}
	f.add(rule, name)
}

// namespaces of the host that can be named.
func namespaces() []string { return []string{"cgroup", "ipc", "network", "pid", "userns", "uts"} }

func (f *file) namespace(node *yaml.Node, rule string) {
	if !slices.Contains(namespaces(), node.Value) {
		f.problem(node, "%s: must be one of %s", rule, strings.Join(namespaces(), ", "))
		return
	}
	f.add(rule, node.Value)
}

var adoption = regexp.MustCompile(`^[a-z0-9_*-]+:(/|\*\*)`)

func (f *file) adoption(node *yaml.Node, rule string) {
	if !adoption.MatchString(node.Value) {
		f.problem(node, "%s: must be a project and a folder, such as my-project:/opt/my-project", rule)
		return
	}
	f.add(rule, node.Value)
}

func (f *file) registrar(node *yaml.Node, rule string) {
	scheme, rest, _ := strings.Cut(node.Value, "://")
	host, _, hasPath := strings.Cut(rest, "/")
	if scheme != "http" && scheme != "https" || host == "" || !hasPath || strings.ContainsAny(node.Value, "?#@") {
		f.problem(node, "%s: must be a URL with a path and without a query, such as http://backend.example:8000/api/v1/workers", rule)
		return
	}
	f.add(rule, scheme+"://"+strings.ToLower(host)+strings.TrimPrefix(rest, host))
}

func (f *file) securityOpt(node *yaml.Node, rule string) { f.add(rule, securityOpt(node.Value)) }

func (f *file) flag(value *yaml.Node, rule string) {
	if value.Kind != yaml.ScalarNode || value.ShortTag() != "!!bool" {
		f.problem(value, "%s: must be true or false", rule)
		return
	}
	f.policy.flags[rule] = strings.EqualFold(value.Value, "true")
}

// paths reads the list of host paths.
func (f *file) paths(value *yaml.Node, rule string) {
	if value.Kind != yaml.SequenceNode {
		f.problem(value, "%s: must be a list; write [] to allow nothing", rule)
		return
	}
	for _, node := range value.Content {
		allowed := pathRule{}
		f.mapping(node, rule, map[string]reader{
			"path": func(value *yaml.Node, _ string) { allowed.path = f.hostPath(value, rule) },
			"writable": func(value *yaml.Node, _ string) {
				f.flag(value, rule+".writable")
				allowed.writable = f.policy.flags[rule+".writable"]
			},
		})
		delete(f.policy.flags, rule+".writable")
		if node.Kind == yaml.MappingNode && allowed.path == "" {
			f.problem(node, "%s: an entry needs path, such as {path: /mnt/data, writable: true}", rule)
			continue
		}
		f.policy.hostPaths = append(f.policy.hostPaths, allowed)
	}
}

func (f *file) hostPath(value *yaml.Node, rule string) string {
	if value.Kind != yaml.ScalarNode || !isClean(value.Value) || strings.Contains(value.Value, "*") {
		f.problem(value, "%s.path: must be an absolute path without . and .. and without *: it stands for all that is below it", rule)
		return "/nonexistent" // told already
	}
	return value.Value
}
