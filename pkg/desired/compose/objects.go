package compose

import (
	"path"
	"strconv"

	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/api"
)

// object is the use of a config or secret by a service, with its definition.
type object struct {
	kind       string // "config" or "secret"
	place      string
	base       string // where a relative target goes
	use        types.FileReferenceConfig
	definition types.FileObjectConfig
	defined    bool
}

func (o object) target() string {
	switch {
	case o.use.Target == "":
		return o.base + o.use.Source
	case !path.IsAbs(o.use.Target):
		return o.base + o.use.Target
	}
	return o.use.Target
}

// object maps a config or secret: a file becomes a read-only bind, anything else a File
// that is written before the start, or bound where it holds secrets. Source: docker/compose buildContainerSecretMounts,
// buildContainerConfigMounts, injectFileReferences.
func (m *mapper) object(o object, s *types.ServiceConfig, spec *api.ContainerSpec, taken map[string]bool) {
	top := o.kind + "s." + o.use.Source
	target := o.target()
	switch {
	case !o.defined:
		m.found.errorf(o.place, "%s %q is not defined", o.kind, o.use.Source)
		return
	case taken[target]:
		m.found.warnf(o.place, "%s is mounted already: this %s has no effect", target, o.kind)
		return
	}
	taken[target] = true
	m.treat(o.kind+"s.*", top, o.definition)
	if o.definition.Driver != "" {
		return // refused by the table; a driver brings the content by itself
	}
	if o.definition.File != "" && !bool(o.definition.External) {
		m.objectMount(o, target, spec)
		return
	}
	content, ok := m.objectContent(o, top)
	if !ok {
		return
	}
	if bound := m.req.Delivery != api.DeliveryEnv && len(api.References(content)) > 0; s.ReadOnly && !bound {
		m.found.errorf(o.place, "can't be written: the service is read_only; use `file`, or mount a tmpfs and pass the value in the environment")
		return
	}
	spec.Files = append(spec.Files, m.file(o, target, content))
}

func (m *mapper) objectMount(o object, target string, spec *api.ContainerSpec) {
	place := o.kind + "s." + o.use.Source + ".file"
	if o.use.UID != "" || o.use.GID != "" || o.use.Mode != nil {
		m.found.warnf(o.place, "uid, gid and mode have no effect on a %s with `file`: it is a bind mount", o.kind)
	}
	if _, home := m.fromHome(o.definition.File); path.IsAbs(o.definition.File) && !home {
		m.found.errorf(place, "%s is an absolute path: only files of the repository are used here; bind a host path with `volumes`", o.definition.File)
		return
	}
	if _, err := inside(o.definition.File); err != nil && !path.IsAbs(o.definition.File) {
		m.found.errorf(place, "%v", err)
		return
	}
	mount := api.Mount{Type: api.MountBind, Target: target, ReadOnly: true, Long: true}
	if m.source(place, o.definition.File, &mount) {
		if o.kind == "secret" && mount.Repo != nil {
			m.plaintext(o, place)
		}
		spec.Mounts = append(spec.Mounts, mount)
	}
}

// plaintext reports a secret whose value stands in the repository.
func (m *mapper) plaintext(o object, place string) {
	problem := m.found.locate(place, "is a secret in plain text in the repository: use external: true with a reference as name "+
		"(name: \"op://vault/item/field\"), or list the secret's name in plaintextAllowed if it is none")
	m.found.secrets = append(m.found.secrets, SecretProblem{Problem: problem, Plaintext: o.use.Source})
}

// objectContent is content:, the value of environment:, or a secret reference.
func (m *mapper) objectContent(o object, top string) (string, bool) {
	d := o.definition
	switch {
	case bool(d.External):
		refs := api.References(d.Name)
		if len(refs) != 1 || d.Name != api.Placeholder(refs[0]) {
			m.found.errorf(top, "external %ss need Swarm: give a reference as name (name: \"op://vault/item/field\")", o.kind)
			return "", false
		}
		return d.Name, true
	case d.Environment != "":
		value, ok := m.variables.get(d.Environment)
		if !ok {
			m.found.errorf(top+".environment", "variable %s is not defined", d.Environment)
		}
		if o.kind == "secret" && value != "" && !api.HasReference(value) {
			m.plaintext(o, top+".environment")
		}
		return value, ok
	case o.kind == "config":
		return d.Content, true
	}
	m.found.errorf(top, "needs file, environment, or external with a reference as name")
	return "", false
}

// defaultMode is what Compose gives to files without a mode.
const defaultMode = 0o444

func (m *mapper) file(o object, target, content string) api.File {
	file := api.File{Target: path.Clean(target), Content: content, Mode: defaultMode, Secret: o.kind == "secret"}
	if o.use.Mode != nil {
		mode := int64(*o.use.Mode)
		if mode < 0 || mode > 0o7777 {
			m.found.errorf(o.place+".mode", "%#o is not a file mode", mode)
		}
		file.Mode = uint32(mode & 0o7777)
	}
	file.UID = m.id(o.place+".uid", o.use.UID)
	file.GID = m.id(o.place+".gid", o.use.GID)
	return file
}

func (m *mapper) id(place, id string) int {
	if id == "" {
		return 0
	}
	n, err := strconv.Atoi(id)
	if err != nil || n < 0 {
		m.found.errorf(place, "%q is not a number", id)
	}
	return n
}
